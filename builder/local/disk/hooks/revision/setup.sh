#!/bin/sh
# Fetches only the signed lists of lists, with the configuration (sources, keys)
# that mmdebstrap would make the disk with, and keeps them beside this script.
set -eu
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
export APT_CONFIG
apt-get -q --error-on=any \
	-o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false \
	-o Acquire::IndexTargets::deb::Translations::DefaultEnabled=false \
	update
cp -- "$1"/var/lib/apt/lists/*Release "${0%/*}/"
