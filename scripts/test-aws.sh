#!/bin/sh
# Runs the tests of access to AWS against moto, a server that answers as AWS does.
#
# moto comes from PyPI in pinned versions, into a virtual environment under .cache/
# that is made anew when the list of versions changes. The tests start it by
# themselves, on the loopback address. The same tests run in `make test` against a
# fake of our own.
set -eu
cd "$(dirname "$0")/.."

venv=$PWD/.cache/moto
list=scripts/moto-requirements.txt
if ! cmp -s "$list" "$venv/requirements.txt"; then
	echo "installing moto from PyPI into $venv" >&2
	rm -rf "$venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$list"
	cp "$list" "$venv/requirements.txt"
fi
export INGOT_TEST_MOTO="$venv/bin/moto_server"
# Without -count an earlier result could stand in for a run. GOTESTSUM is a command
# with its arguments, split on purpose.
exec ${GOTESTSUM:-go run gotest.tools/gotestsum@v1.13.0} --format pkgname -- -race -count 1 -timeout 5m ./builder/component/aws ./builder/ec2/... ./cmd/ingot-agent-aws
