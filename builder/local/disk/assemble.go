package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Where things are on a disk that Debian made, in bytes. The root partition is
// the last one, so that a larger disk only needs its end moved.
const (
	biosOffset = 1 * mib
	biosSize   = 1 * mib
	efiOffset  = 2 * mib
	efiSize    = 64 * mib

	// RootOffset is where the root file system of a disk made by Debian begins.
	RootOffset = efiOffset + efiSize
	// backupGPT is kept free at the end for the second partition table.
	backupGPT = 1 * mib

	// RootLabel is the label by which boot loader and fstab find the root file system.
	RootLabel = "ingot-root"
	efiLabel  = "INGOT-EFI"
)

// assemble makes a bootable raw disk of the folder root, without ever mounting it.
func assemble(ctx context.Context, root, raw string, virtual int64, log func(string)) error {
	virtual = virtual / mib * mib
	if err := sparse(raw, virtual); err != nil {
		return err
	}
	rootSize := virtual - RootOffset - backupGPT
	if err := partition(ctx, raw, rootSize, log); err != nil {
		return err
	}
	// The file is new and sparse: all that mkfs does not write is zero already.
	// GRUB 2.06 reads neither of the two features that are switched off.
	if err := tool(ctx, log, "mkfs.ext4", "-q", "-F", "-L", RootLabel, "-m", "1",
		"-O", "^metadata_csum_seed,^orphan_file",
		"-E", fmt.Sprintf("offset=%d,assume_storage_prezeroed=1", int64(RootOffset)),
		"-d", root, raw, fmt.Sprintf("%dk", rootSize/1024)); err != nil {
		return err
	}
	if err := installEFI(ctx, raw, log); err != nil {
		return err
	}
	return installBIOS(ctx, raw, log)
}

func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func partition(ctx context.Context, raw string, rootSize int64, log func(string)) error {
	sectors := func(offset, size int64) string {
		return fmt.Sprintf("%d:%d", offset/sectorSize, (offset+size)/sectorSize-1)
	}
	return tool(ctx, log, "sgdisk", "--clear",
		"--new=1:"+sectors(biosOffset, biosSize), "--typecode=1:ef02", "--change-name=1:bios",
		"--new=2:"+sectors(efiOffset, efiSize), "--typecode=2:ef00", "--change-name=2:efi",
		"--new=3:"+sectors(RootOffset, rootSize), "--typecode=3:8304", "--change-name=3:root",
		raw)
}

// What both boot loaders have built in: the disk holds no GRUB modules, so that
// nothing on it can fail to fit.
var grubModules = []string{
	"part_gpt", "ext2", "search", "search_label", "normal", "configfile", "linux", "echo", "test",
	"serial", "terminal", "sleep", "keystatus", "minicmd", "ls", "cat", "halt", "reboot",
}

// findMenu is run by GRUB before anything else.
const findMenu = `search --no-floppy --label ` + RootLabel + ` --set=root
set prefix=($root)/boot/grub
configfile /boot/grub/grub.cfg
`

// grubImage makes a GRUB that finds its menu by itself, for one platform.
func grubImage(ctx context.Context, dir, platform string, log func(string), modules ...string) (string, error) {
	config := filepath.Join(dir, "early-"+platform+".cfg")
	if err := os.WriteFile(config, []byte(findMenu), 0o644); err != nil {
		return "", err
	}
	image := filepath.Join(dir, "grub-"+platform)
	args := []string{"--format=" + platform, "--prefix=/boot/grub", "--config=" + config, "--output=" + image}
	args = append(args, grubModules...)
	return image, tool(ctx, log, "grub-mkimage", append(args, modules...)...)
}

// installEFI makes the EFI partition, with GRUB under the name that firmware
// looks for when it knows nothing about the disk.
func installEFI(ctx context.Context, raw string, log func(string)) error {
	image, err := grubImage(ctx, filepath.Dir(raw), "x86_64-efi", log, "fat", "efi_gop", "efi_uga", "all_video")
	if err != nil {
		return err
	}
	if err := tool(ctx, log, "mkfs.vfat", "-F", "32", "-s", "1", "-n", efiLabel,
		"--offset="+strconv.Itoa(efiOffset/sectorSize), raw, strconv.Itoa(efiSize/1024)); err != nil {
		return err
	}
	at := fmt.Sprintf("%s@@%d", raw, efiOffset)
	if err := tool(ctx, log, "mmd", "-i", at, "::/EFI", "::/EFI/BOOT"); err != nil {
		return err
	}
	return tool(ctx, log, "mcopy", "-i", at, image, "::/EFI/BOOT/BOOTX64.EFI")
}

// Where GRUB's two first stages keep the sector of what they load next; the
// numbers are part of the interface between its stages.
const (
	grubBootImage   = "/usr/lib/grub/i386-pc/boot.img"
	bootCodeEnd     = 440  // behind it come the disk signature and the partition table
	bootNextSector  = 0x5c // in boot.img, 64 bits: the sector of the core image
	bootDriveCheck  = 0x66 // in boot.img: a jump that is only right on floppy disks
	coreFirstExtent = 500  // in the core image's first sector, 64 bits: where its rest begins
)

// installBIOS puts GRUB's first stage into the first sector and its core image
// into the BIOS boot partition, as grub-bios-setup does to a device.
func installBIOS(ctx context.Context, raw string, log func(string)) error {
	image, err := grubImage(ctx, filepath.Dir(raw), "i386-pc", log, "biosdisk")
	if err != nil {
		return err
	}
	core, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	boot, err := os.ReadFile(grubBootImage)
	if err != nil {
		return missing("boot.img", err)
	}
	if len(boot) != sectorSize || len(core) <= sectorSize || len(core) > biosSize {
		return fmt.Errorf("GRUB's stages have unexpected sizes: %d and %d bytes", len(boot), len(core))
	}
	binary.LittleEndian.PutUint64(boot[bootNextSector:], biosOffset/sectorSize)
	copy(boot[bootDriveCheck:], []byte{0x90, 0x90}) // two times "do nothing"
	binary.LittleEndian.PutUint64(core[coreFirstExtent:], biosOffset/sectorSize+1)

	f, err := os.OpenFile(raw, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(boot[:bootCodeEnd], 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(core, biosOffset); err != nil {
		return err
	}
	return f.Close()
}
