#!/usr/bin/env bash
# Builds the Dockerfile without an image registry, looks at the result, and has the
# Compose file run it.
#
# Stand-ins for the two base images are made here: a minimal Debian, and the same with
# this machine's Go. Modules and compiled packages come from its caches, Debian
# packages from the default mirror. Needs root, network, and `scripts/install-packages.sh image`.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/ingot-dockerfile-XXXXXX")
# A store of its own: nothing that others have built is used or changed.
b() { buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }
cleanup() {
	b rm --all >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap cleanup EXIT
say() { printf '== %s\n' "$*" >&2; }

say "a stand-in for debian:bookworm-slim"
mmdebstrap --quiet --variant=minbase bookworm "$work/base.tar"
base=$(b from scratch)
b add --quiet "$base" "$work/base.tar" / >/dev/null
b commit --quiet "$base" localhost/debian:check >/dev/null

say "a stand-in for golang"
go=$(b from --pull-never localhost/debian:check)
b copy --quiet "$go" "$(go env GOROOT)" /usr/local/go >/dev/null
b config --env PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	--env GOPATH=/go --env GOTOOLCHAIN=local --env GOPROXY=off --env GOFLAGS=-buildvcs=false "$go"
b commit --quiet "$go" localhost/golang:check >/dev/null
b rm "$base" "$go" >/dev/null

say "the Dockerfile"
go mod download
b bud --quiet --pull-never --isolation chroot --format docker \
	--volume "$(go env GOMODCACHE):/go/pkg/mod:ro" --volume "$(go env GOCACHE):/root/.cache/go-build" \
	--build-arg GO_IMAGE=localhost/golang:check --build-arg BASE_IMAGE=localhost/debian:check \
	--build-arg VERSION=check -t localhost/ingot:check . >/dev/null

say "what it made"
ctr=$(b from --pull-never localhost/ingot:check)
inside() { b run --isolation chroot "$ctr" -- "$@"; }
inside ingot --version
inside ingot-agent version
inside ingot-agent-aws version
inside sh -c 'for p in qemu-system-x86_64 qemu-img qemu-storage-daemon mmdebstrap systemd-nspawn sgdisk mkfs.ext4 mkfs.vfat mcopy grub-mkimage git ssh; do
	PATH=$PATH:/usr/sbin:/sbin command -v $p >/dev/null || { echo "the image lacks $p" >&2; exit 1; }
done
test -s /usr/local/bin/ingot-agent.exe || { echo "the image lacks the agent for Windows" >&2; exit 1; }
test -s /usr/share/OVMF/OVMF_CODE_4M.fd || { echo "the image lacks OVMF" >&2; exit 1; }
test ! -e /tmp/install-packages.sh
test -z "$(ls /var/lib/apt/lists)"'
say "the daemon in it"
inside bash -ec '
printf "%s\n" "dataDir: /var/lib/ingot" "server: {listen: \"127.0.0.1:0\", publicURL: \"http://127.0.0.1\"}" \
	"repositories: [{name: none, url: /srv/none}]" >/tmp/ingot.yaml
ingot daemon -c /tmp/ingot.yaml >/tmp/log 2>&1 &
daemon=$!
port=
for _ in $(seq 300); do
	port=$(sed -n "s/.*ingot is up.*listen=\"127.0.0.1:\([0-9]*\).*/\1/p" /tmp/log)
	[ -z "$port" ] || break
	sleep 0.1
done
ask() { exec 3<>"/dev/tcp/127.0.0.1/$port" && printf "GET %s HTTP/1.0\r\n\r\n" "$1" >&3 && cat <&3; }
failed() { echo "the daemon in the image $1" >&2; cat /tmp/log >&2; exit 1; }
[ -n "$port" ] || failed "does not come up"
ask /healthz | grep -q "^HTTP/1.[01] 200 " || failed "is not healthy"
ask / | grep -q "<title>Repositories" || failed "shows no dashboard"
kill -TERM "$daemon"
wait "$daemon" || failed "ended with status $?"
'
say "the Dockerfile makes a working image"
b rm "$ctr" >/dev/null
scripts/check-compose.sh "$work/store" "$work/run"
