#!/bin/sh
# Before any package: what is here when the kernel is installed shapes its initramfs.
exec cp -a -- "${0%/*}/../rootfs/." "$1/"
