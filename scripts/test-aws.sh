#!/bin/sh
# Runs the tests of access to AWS against moto, a server that answers as AWS does.
#
# moto and cfn-lint come from PyPI in pinned versions, each into a virtual environment
# under .cache/ that is made anew when its list of versions changes. The tests start
# moto by themselves, on the loopback address. Without them, `make test` runs the same
# tests against fakes of our own.
set -eu
cd "$(dirname "$0")/.."

# environment NAME makes the virtual environment of scripts/NAME-requirements.txt.
environment() {
	venv=$PWD/.cache/$1
	list=scripts/$1-requirements.txt
	cmp -s "$list" "$venv/requirements.txt" && return
	echo "installing $1 from PyPI into $venv" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list"
	cp "$list" "$venv/requirements.txt"
}
environment moto
environment cfn-lint
export INGOT_TEST_MOTO="$PWD/.cache/moto/bin/moto_server"
export INGOT_TEST_CFNLINT="$PWD/.cache/cfn-lint/bin/cfn-lint"
# Without -count an earlier result could stand in for a run. GOTESTSUM is a command
# with its arguments, split on purpose.
go_test() { ${GOTESTSUM:-go run gotest.tools/gotestsum@v1.13.0} --format pkgname -- -race -count 1 -timeout 15m "$@"; }
go_test ./internal/mototest ./builder/component/aws ./builder/ec2/... ./cmd/ingot-agent-aws
go_test -run OnAWS ./cmd/ingot
