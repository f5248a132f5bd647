package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/seed-6db18919/ingot/builder"
)

// ImportSpec names a disk file that somebody else made.
type ImportSpec struct {
	Source string // path of the file
	Format Format // empty: told from the content, as always when the author named a file
}

// Import turns a foreign disk (qcow2, raw, VMDK, VHDX, VHD, OVA) into a qcow2 file
// of ours at out, without a backing file. It refuses what refers to another file,
// what is larger than MaxVirtual, and what has no Linux root file system; these
// errors are the author's.
func Import(ctx context.Context, spec ImportSpec, out string, log func(string)) (err error) {
	work, remove, err := workspace(out, &err)
	if err != nil {
		return err
	}
	defer remove()

	file, format, err := openForeign(spec)
	if err != nil {
		return err
	}
	defer file.Close() // only read
	if format == OVA {
		file, format, err = unpackOVA(ctx, file, filepath.Join(work, "ova-disk"), log)
		if err != nil {
			return err
		}
		defer file.Close() // only read
	}
	temp := filepath.Join(work, "disk.qcow2")
	if err := importDisk(ctx, file, format, temp, log); err != nil {
		return err
	}
	root, err := Layout(ctx, temp)
	if err != nil {
		return err
	}
	log(fmt.Sprintf("root file system: %s, %d MiB at %d MiB", root.Filesystem, root.Size/mib, root.Offset/mib))
	return publish(temp, out)
}

// openForeign opens a disk file, and checks it by what was opened.
func openForeign(spec ImportSpec) (*os.File, Format, error) {
	f, size, err := openRegular(spec.Source)
	if err != nil {
		return nil, "", err
	}
	format := spec.Format
	if format == "" {
		format, err = detect(f, size)
	}
	if err == nil && format != OVA {
		err = checkForeign(f, size, format)
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, format, nil
}

// importDisk lets qemu-img read the very file that was checked: it inherits the
// open file, so a name that is pointed elsewhere meanwhile changes nothing.
func importDisk(ctx context.Context, file *os.File, format Format, out string, log func(string)) error {
	log("converting from " + string(format))
	const inherited = "/dev/fd/3" // the first of extra files
	convert := command{
		name:  "qemu-img",
		args:  []string{"convert", "-W", "-m", "8", "-O", "qcow2", source(inherited, format, false), out},
		files: []*os.File{file},
	}
	err := convert.run(ctx, log)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, found := errors.AsType[*os.PathError](err); found {
		return err
	}
	return fail(builder.Author, builder.StageResolve, err, "Check that the file is complete.", "the disk file cannot be read as %s", format)
}
