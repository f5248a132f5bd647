package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// program is an external program, or a file of one, that local builds use.
type program struct {
	name    string
	pkg     string // the Debian package that brings it
	version []string
	needs   string // text that the version's output must contain
	feature string // what that text stands for
	file    string // instead of a program: a file that must be there
	needed  bool
	without string
}

var programs = []program{
	{name: "qemu-system-x86_64", pkg: "qemu-system-x86", version: []string{"--version"}, needed: true, without: "images cannot be started, so they cannot be tested"},
	{name: "qemu-img", pkg: "qemu-utils", version: []string{"--version"}, needed: true, without: "no disk can be made, read or converted"},
	{name: "qemu-storage-daemon", pkg: "qemu-system-common", version: []string{"--help"}, needs: "fuse,id=", feature: "FUSE exports", needed: true, without: "qcow2 layers cannot be mounted, so container builds do not work"},
	{name: "systemd-nspawn", pkg: "systemd-container", version: []string{"--version"}, needed: true, without: "container builds do not work"},
	{name: "losetup", pkg: "mount", version: []string{"--version"}, needed: true, without: "layers cannot be mounted, so container builds do not work"},
	{name: "mmdebstrap", pkg: "mmdebstrap", version: []string{"--version"}, without: "the parents debian-12 and debian-13 cannot be made; disk files still work as parents"},
	{name: "Debian keys", pkg: "debian-archive-keyring", file: "/usr/share/keyrings/debian-archive-keyring.gpg", without: "the parents debian-12 and debian-13 cannot be made, as no package can be verified"},
	{name: "sgdisk", pkg: "gdisk", version: []string{"--version"}, without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "mkfs.ext4", pkg: "e2fsprogs", version: []string{"-V"}, without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "mkfs.vfat", pkg: "dosfstools", version: []string{"--help"}, without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "mcopy", pkg: "mtools", version: []string{"--version"}, without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "grub-mkimage", pkg: "grub-common", version: []string{"--version"}, without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "GRUB for BIOS", pkg: "grub-pc-bin", file: "/usr/lib/grub/i386-pc/boot.img", without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "GRUB for UEFI", pkg: "grub-efi-amd64-bin", file: "/usr/lib/grub/x86_64-efi/linux.mod", without: "the parents debian-12 and debian-13 cannot be made"},
	{name: "OVMF", pkg: "ovmf", file: "/usr/share/OVMF/OVMF_CODE_4M.fd", without: "images cannot be started by UEFI"},
	{name: "git", pkg: "git", version: []string{"--version"}, without: "repositories cannot be reached through file:// addresses"},
	{name: "ssh", pkg: "openssh-client", version: []string{"-V"}, without: "known hosts cannot be collected with ssh-keyscan"},
}

const versionTime = 10 * time.Second

func (p program) check(ctx context.Context) Check {
	c := Check{Name: p.name, State: OK, Needed: p.needed, Package: p.pkg}
	detail, err := p.look(ctx)
	if err != nil {
		c.Detail, c.Without, c.State = err.Error(), p.without, Limited
		if p.needed {
			c.State = Missing
		}
		return c
	}
	c.Detail = detail
	return c
}

func (p program) look(ctx context.Context) (string, error) {
	if p.file != "" {
		_, err := os.Stat(p.file)
		return p.file, err
	}
	path, err := find(p.name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed", p.name)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	// Some print their version on the standard error, and end with a status of 1.
	out, err := exec.CommandContext(ctx, path, p.version...).CombinedOutput()
	if len(out) == 0 && err != nil {
		return "", fmt.Errorf("%s does not run: %w", path, err)
	}
	if !strings.Contains(string(out), p.needs) {
		return "", fmt.Errorf("%s has no support for %s", path, p.feature)
	}
	if p.needs != "" {
		return "with " + p.feature, nil
	}
	return version(string(out)), nil
}

// find looks in the system's folders too: a user's PATH often lacks the sbin ones.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if found, lookErr := exec.LookPath(filepath.Join(dir, name)); lookErr == nil {
			return found, nil
		}
	}
	return "", err
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+|\b\d{3}\b`)

// version picks the first thing that looks like a version from a program's answer.
func version(out string) string {
	if v := versionNumber.FindString(out); v != "" {
		return v
	}
	return firstLine(out)
}
