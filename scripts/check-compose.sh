#!/usr/bin/env bash
# Brings the Compose file up with podman: daemon and PostgreSQL, a repository whose two
# images are built and tested inside of the daemon's container; then down, and up again
# with all that was known.
#
#	scripts/check-compose.sh STORE RUNROOT
#
# STORE and RUNROOT are those of container images, as buildah and podman have them, with
# localhost/ingot:check and localhost/debian:check in them: check-dockerfile.sh calls
# this. PostgreSQL's image is replaced by one made here, from Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."
store=$1 run=$2

work=$(mktemp -d "${TMPDIR:-/tmp}/ingot-compose-XXXXXX")
mkdir "$work/bin" "$work/deploy" "$work/recipes"
# Podman's own limits may be above what this machine lets anybody have.
cat >"$work/containers.conf" <<END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
END
export CONTAINERS_CONF=$work/containers.conf
# This podman-compose does not know what cgroup: asks for.
cat >"$work/bin/podman" <<END
#!/bin/sh
command=\$1
shift
[ "\$command" != run ] || set -- --cgroupns=private "\$@"
exec $(command -v podman) --root "$store" --runroot "$run" --storage-driver vfs "\$command" "\$@"
END
chmod +x "$work/bin/podman"
PATH=$work/bin:$PATH
export POSTGRES_PASSWORD=secret
compose() { (cd "$work/deploy" && podman-compose -p ingot-check -f compose.yaml -f check.yaml "$@" >"$work/compose.log" 2>&1); }
cleanup() {
	compose down -v || true
	rm -rf "$work"
}
trap cleanup EXIT
say() { printf '== %s\n' "$*" >&2; }
failed() {
	echo "$*" >&2
	cat "$work/compose.log" >&2
	podman logs ingot-check_ingot_1 >&2 || true
	podman logs ingot-check_database_1 >&2 || true
	exit 1
}

say "a stand-in for postgres:15"
cat >"$work/entry" <<'END'
#!/bin/bash
set -e
data=/var/lib/postgresql/data
as() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
if [ ! -s "$data/PG_VERSION" ]; then
	chown postgres: "$data"
	chmod 700 "$data"
	install -o postgres -m 600 /dev/null /tmp/password
	printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
	as initdb -D "$data" --auth=scram-sha-256 --username="$POSTGRES_USER" --pwfile=/tmp/password >/dev/null
	echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
	as postgres --single -D "$data" postgres <<<"CREATE DATABASE \"$POSTGRES_USER\"" >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups -- postgres -D "$data" -c listen_addresses='*'
END
chmod +x "$work/entry"
b() { buildah --root "$store" --runroot "$run" --storage-driver vfs "$@"; }
database=$(b from --pull-never localhost/debian:check)
b run --isolation chroot "$database" -- sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql-15' >"$work/compose.log" 2>&1 || failed "PostgreSQL cannot be installed"
b copy --quiet "$database" "$work/entry" /entry >/dev/null
b config --entrypoint '["/entry"]' --env PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin "$database"
b commit --quiet "$database" localhost/postgres:15 >/dev/null
b rm "$database" >/dev/null
b tag localhost/ingot:check localhost/ingot:latest

say "up"
cp examples/deploy/compose.yaml "$work/deploy"
cp -r examples/recipes/. "$work/recipes"
git -C "$work/recipes" init --quiet --initial-branch main
git -C "$work/recipes" add -A
git -C "$work/recipes" -c user.name=check -c user.email=check@example.org commit --quiet -m 'Add the sample'
cat >"$work/deploy/ingot.yaml" <<END
dataDir: /var/lib/ingot
server: {listen: "0.0.0.0:8080", publicURL: "http://127.0.0.1:8080"}
repositories: [{name: sample, url: /srv/recipes, pollInterval: 2s}]
END
cat >"$work/deploy/check.yaml" <<END
services:
  ingot:
    volumes: ["$work/recipes:/srv/recipes:ro"]
END
compose up -d --no-build || failed "the services do not start"

# until_true TRIES COMMAND... waits for a state of another machine, a second between two looks.
until_true() {
	local left=$1
	shift
	until "$@"; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 1
	done
}
healthy() { curl --fail --silent --output /dev/null --max-time 5 http://127.0.0.1:8080/healthz; }
ingot() { podman exec ingot-check_ingot_1 ingot "$@" -c /etc/ingot/ingot.yaml; }
until_true 120 healthy || failed "the daemon is not healthy"
ingot doctor >&2 || failed "the daemon's container cannot do what local builds need"

say "builds inside of the container"
finished() { [ "$(ingot builds | grep -cE ' (succeeded|failed|errored) ')" -eq 2 ]; }
until_true 600 finished || failed "the builds do not end"
ingot builds >&2
[ "$(ingot builds | grep -c ' succeeded ')" -eq 2 ] || { ingot logs 1 >&2; failed "not both builds succeeded"; }

say "down, and up again"
compose down || failed "the services do not stop"
compose up -d --no-build || failed "the services do not start again"
until_true 120 healthy || failed "the daemon is not healthy again"
[ "$(ingot builds | grep -c ' succeeded ')" -eq 2 ] || failed "the ledger is not what it was"
say "the Compose file works"
