#!/bin/sh
# After all packages: switch on and off, and forget what the building host left.
set -eu
export SYSTEMD_OFFLINE=1
cd "$1"

chroot . systemctl enable systemd-networkd.service systemd-resolved.service ssh-host-keys.service
# An image is kept fresh by building it again; on a short-lived machine these
# only compete with its first boot. fstrim and the backup of dpkg's database stay.
chroot . systemctl disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service

chroot . /usr/local/sbin/update-grub
mkdir -p boot/efi

: >etc/machine-id
ln -sf /etc/machine-id var/lib/dbus/machine-id
rm -f etc/hostname var/lib/systemd/random-seed etc/.pwd.lock
ln -sfn ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
# Nothing is left to be updated at the first boot.
touch etc/.updated var/.updated
rm -rf var/log/apt var/log/dpkg.log var/log/alternatives.log var/log/bootstrap.log var/cache/debconf/*-old var/lib/dpkg/*-old
