#!/bin/sh
# Installs the Debian packages that ingot needs on this machine, and says nothing
# when all of them are there.
#
#	scripts/install-packages.sh GROUP...
#
#	host     what the local driver needs to build, boot and test images
#	test     what the tests need beside that: a C compiler for the race detector, an SSH
#	         server, PostgreSQL, a browser, Python for moto, Wine and what makes packages for
#	         Windows Installer
#	browser  the browser alone
#	bench    what the benchmark compares with
#	image    what scripts/check-dockerfile.sh needs
#
# `ingot doctor` names the same packages, and what each lack means.
set -eu

host='ca-certificates dosfstools e2fsprogs gdisk git grub-common grub-efi-amd64-bin grub-pc-bin
	debian-archive-keyring mmdebstrap mount mtools openssh-client ovmf
	qemu-system-common qemu-system-x86 qemu-utils systemd-container tzdata'
browser='chromium'
test="gcc libc6-dev openssh-server postgresql python3-venv wine64 wixl $browser"
bench='mkosi packer'
image='aardvark-dns buildah catatonit curl mmdebstrap netavark podman podman-compose runc'

usage() {
	echo "usage: $0 host|test|browser|bench|image ..." >&2
	exit 2
}

[ $# -gt 0 ] || usage
wanted=
for group; do
	case $group in
	host) wanted="$wanted $host" ;;
	test) wanted="$wanted $test" ;;
	browser) wanted="$wanted $browser" ;;
	bench) wanted="$wanted $bench" ;;
	image) wanted="$wanted $image" ;;
	*) usage ;;
	esac
done

# A package that was removed but left its settings is listed too, with another state.
missing() {
	installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^.i *//p')
	for package in $wanted; do
		echo "$installed" | grep -qxF "$package" || echo "$package"
	done | sort -u
}

lacking=$(missing)
[ -n "$lacking" ] || exit 0
# The list is made of the words above: it is split on purpose.
set -- $lacking

if [ "$(id -u)" -ne 0 ]; then
	echo "$0: these Debian packages are missing, and only root can install them: $*" >&2
	exit 1
fi

# No service may start because its package came: PostgreSQL would run a server that
# nobody asked for. Maintainer scripts ask this policy; one that is there stays.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
made_policy=
cleanup() {
	rm -f "$log"
	[ -z "$made_policy" ] || rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
if [ ! -e "$policy" ]; then
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

# quietly runs a command and shows what it said only when it does not succeed.
quietly() {
	"$@" >"$log" 2>&1 </dev/null || {
		status=$?
		cat "$log" >&2
		echo "$0: $1 $2 ended with status $status" >&2
		exit "$status"
	}
}

echo "installing Debian packages: $*" >&2
export DEBIAN_FRONTEND=noninteractive
# Lists that are there may be too old to be of use, but fetching them is half of the time.
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mmin -720 2>/dev/null)" ]; then
	quietly apt-get update -qq
fi
install() { apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; }
if ! install "$@" >"$log" 2>&1 </dev/null; then
	quietly apt-get update -qq
	quietly install "$@"
fi

lacking=$(missing)
if [ -n "$lacking" ]; then
	echo "$0: still missing: $lacking" >&2
	exit 1
fi
