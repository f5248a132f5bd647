#!/bin/sh
# Measures what `make build` has made against other tools, and prints ratios.
# The arguments are those of internal/bench; -h lists them.
set -eu
cd "$(dirname "$0")/.."
"${GO:-go}" build -o bin/bench ./internal/bench
exec bin/bench "$@"
