#!/bin/sh
# Fuzzes the targets of packages: fuzz.sh TIME PACKAGE…
# What is found is kept below the package's testdata/fuzz, where every later test run tries it.
# FUZZJOBS targets run at a time (default 1), and each then shows at its end what it said.
set -eu
cd "$(dirname "$0")/.."
export go="${GO:-go}" time="$1" jobs="${FUZZJOBS:-1}"
shift
targets=$(for package in $("$go" list "$@"); do
	# Build constraints decide which files count, so the go command is asked for them.
	files=$("$go" list -f '{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$d}}/{{.}} {{end}}' "$package")
	[ -n "$files" ] || continue
	sed -n "s,^func \(Fuzz[A-Za-z0-9_]*\)(.*,$package \1,p" $files
done)
echo "$targets" | xargs -r -n 2 -P "$jobs" sh -c '
	fuzz() {
		echo "== $1 $2"
		"$go" test -run "^$" -fuzz "^$2\$" -fuzztime "$time" -parallel "${FUZZPARALLEL:-1}" "$1"
	}
	[ "$jobs" != 1 ] || { fuzz "$@"; exit; }
	said=$(fuzz "$@" 2>&1) && status=0 || status=1
	echo "$said"
	exit "$status"
' fuzz
