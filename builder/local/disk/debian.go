package disk

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
)

// DebianVersion changes when Debian makes a different disk from the same
// packages. It belongs into the key of whoever caches what Debian made.
const DebianVersion = "4"

// DebianSpec says which disk Debian makes.
type DebianSpec struct {
	Suite   string   // bookworm or trixie, or an alias: debian-12, debian-13
	Mirrors []string // as mmdebstrap takes them: URLs or lines of sources.list; empty: its default, with updates and security
	Virtual int64    // bytes of the disk; 0: DefaultVirtual
}

// DefaultVirtual is the size of a disk that nobody asked to be larger, in bytes.
const DefaultVirtual = 4 * gib

// Suite returns the suite that an alias such as debian-12 stands for.
func Suite(alias string) (suite string, ok bool) {
	switch alias {
	case "debian-12", "bookworm":
		return "bookworm", true
	case "debian-13", "trixie":
		return "trixie", true
	default:
		return "", false
	}
}

// The smallest set with which a machine starts, gets an address and can be
// administrated over its console or apt. Everything else is a recipe's business.
var debianPackages = []string{
	"ca-certificates", "dbus", "e2fsprogs", "initramfs-tools", "iproute2", "iputils-ping", "kmod",
	"less", "libnss-myhostname", "libpam-systemd", "linux-base", "login", "lz4", "netbase", "passwd",
	"procps", "systemd-resolved", "systemd-sysv", "tzdata", "udev",
	// The cloud kernel starts no machine with a SATA (AHCI) or LSI Logic disk,
	// which are what VirtualBox and VMware give an imported image.
	"linux-image-amd64",
}

//go:embed all:rootfs hooks
var embedded embed.FS

// Debian makes a bootable disk of a Debian suite and writes it to out as qcow2.
// The disk starts by BIOS and by UEFI, has a serial and a graphical console, takes
// its address by DHCP, and has no password, no host keys and no identity.
//
// It must run as root. Progress goes to log. The error is Transient when
// packages could not be fetched.
func Debian(ctx context.Context, spec DebianSpec, out string, log func(string)) (err error) {
	suite, ok := Suite(spec.Suite)
	if !ok {
		return unknownSuite(spec.Suite)
	}
	work, remove, err := workspace(out, &err)
	if err != nil {
		return err
	}
	defer remove()

	root := filepath.Join(work, "root")
	if err := bootstrap(ctx, work, root, suite, spec.Mirrors, log); err != nil {
		return err
	}
	raw := filepath.Join(work, "disk.raw")
	if err := assemble(ctx, root, raw, max(spec.Virtual, DefaultVirtual), log); err != nil {
		return err
	}
	return Convert(ctx, raw, Raw, out, QCOW2)
}

// bootstrap fills the folder root with the suite's packages and our files.
func bootstrap(ctx context.Context, work, root, suite string, mirrors []string, log func(string)) error {
	if err := unpack(embedded, "rootfs", filepath.Join(work, "rootfs")); err != nil {
		return err
	}
	if err := unpack(embedded, "hooks/bootstrap", filepath.Join(work, "hooks")); err != nil {
		return err
	}
	args := []string{
		"--mode=root", "--format=directory", "--variant=minbase", "--architectures=amd64",
		"--include=" + strings.Join(debianPackages, ","),
		"--hook-directory=" + filepath.Join(work, "hooks"),
		suite, root,
	}
	if err := (command{name: "mmdebstrap", args: append(args, mirrors...), ownMounts: true}.run(ctx, log)); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return unreachable(err, suite)
	}
	return nil
}

// unreachable explains a failed mmdebstrap. It has one exit status for all that
// can go wrong, and packages that cannot be fetched are nearly always the reason.
func unreachable(err error, suite string) error {
	if builder.FaultOf(err) != builder.Internal {
		return err
	}
	return fail(builder.Transient, builder.StageResolve, err,
		"Check that this host reaches its Debian mirror, and that the package debian-archive-keyring is up to date.",
		"the packages of Debian %s could not be fetched and installed", suite)
}

// unpack writes the folder from of an embedded file system to dir. Embedded
// files have no mode: those that begin as scripts become programs.
func unpack(fsys fs.FS, from, dir string) error {
	return fs.WalkDir(fsys, from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(text), "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(target, text, mode); err != nil {
			return fmt.Errorf("unpack %s: %w", path, err)
		}
		return os.Chmod(target, mode) // the umask took part in WriteFile
	})
}
