#!/bin/sh
# Fuzzes one target after the other: fuzz.sh TIME PACKAGE…
# What is found is kept below the package's testdata/fuzz, where every later test run tries it.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}
time=$1
shift
for package in $("$go" list "$@"); do
	# Build constraints decide which files count, so the go command is asked for them.
	files=$("$go" list -f '{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$d}}/{{.}} {{end}}' "$package")
	[ -n "$files" ] || continue
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $files); do
		echo "== $package $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -parallel "${FUZZPARALLEL:-1}" "$package"
	done
done
