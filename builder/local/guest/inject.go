package guest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errNoFolder is something else where a folder must be.
var errNoFolder = errors.New("not a folder")

// Where the agent lives in a disk. A folder of its own in the root is on the root
// file system, which is there early and is not mounted noexec.
const (
	agentFolder = ".ingot-agent"
	agentFile   = agentFolder + "/ingot-agent"
	unitFolder  = "etc/systemd/system"
	unitName    = "ingot-agent.service"
	unitFile    = unitFolder + "/" + unitName
	wantsFolder = unitFolder + "/sysinit.target.wants"
	wantsLink   = wantsFolder + "/" + unitName
)

// unitText starts the agent as soon as the port and the local file systems are
// there: services that a test asks about come up beside it, not before it. On a host
// so slow that systemd gives the port up, the agent looks for it until it comes. The
// ordering after tmpfiles keeps its files from being swept away under it, and the short stop
// keeps it from delaying a reboot that it has asked for itself.
const unitText = `[Unit]
Description=ingot agent
DefaultDependencies=no
Wants=dev-virtio\x2dports-` + AgentPort + `.device
After=dev-virtio\x2dports-` + AgentPort + `.device local-fs.target systemd-tmpfiles-setup.service
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
ExecStart=/` + agentFile + ` serve --port /dev/virtio-ports/` + AgentPort + `
Restart=always
RestartSec=1
TimeoutStopSec=5
`

// Injected is an agent that was put into a disk. It remembers what Eject needs in
// order to leave the disk as it was found.
type Injected struct {
	made    []string // paths that were made, outermost first
	folders []folder // that existed, and that were written to
}

// folder is the modification time of a folder before and after Inject wrote to it.
type folder struct {
	path          string
	before, after time.Time
}

// Inject puts the agent (a file of the host) into the file system of a systemd
// guest, mounted at root, and has it started at boot. Nothing outside of root is
// touched, whatever links the disk has. An error leaves nothing behind; it is a
// *builder.Error that blames the image when the image is what is in the way.
func Inject(root *os.Root, agent string) (*Injected, error) {
	binary, err := os.Open(agent)
	if err != nil {
		return nil, hostError(err, "", "the agent's program cannot be read")
	}
	defer binary.Close()

	in := &Injected{}
	if err := in.inject(root, binary); err != nil {
		return nil, errors.Join(injectError(err), in.Eject(root))
	}
	return in, nil
}

func (in *Injected) inject(root *os.Root, binary io.Reader) (err error) {
	if err := in.note(root, ".", unitFolder, wantsFolder); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.noteAfter(root)) }()
	steps := []func() error{
		func() error { return in.folder(root, agentFolder) },
		func() error { return in.file(root, agentFile, 0o755, binary) },
		func() error { return in.file(root, unitFile, 0o644, strings.NewReader(unitText)) },
		func() error { return in.wants(root) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// note remembers the folders that are there. Only the last may be missing.
func (in *Injected) note(root *os.Root, paths ...string) error {
	for i, p := range paths {
		info, err := root.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i == len(paths)-1:
			return nil
		case err != nil:
			return err
		case !info.IsDir():
			return &fs.PathError{Op: "inject", Path: p, Err: errNoFolder}
		}
		in.folders = append(in.folders, folder{path: p, before: info.ModTime()})
	}
	return nil
}

func (in *Injected) noteAfter(root *os.Root) error {
	for i := range in.folders {
		info, err := root.Lstat(in.folders[i].path)
		if err != nil {
			return err
		}
		in.folders[i].after = info.ModTime()
	}
	return nil
}

func (in *Injected) folder(root *os.Root, name string) error {
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	in.made = append(in.made, name)
	return root.Chmod(name, 0o755) // whatever our umask is
}

func (in *Injected) file(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	in.made = append(in.made, name)
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// wants has systemd start the unit.
func (in *Injected) wants(root *os.Root) error {
	if err := in.folder(root, wantsFolder); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := root.Symlink("/"+unitFile, wantsLink); err != nil {
		return err
	}
	in.made = append(in.made, wantsLink)
	return nil
}

// Eject removes what Inject put there and gives folders that nobody else has written
// to their old times. A folder that Inject made stays when there is something
// of others in it by now. What is gone already is no error.
func (in *Injected) Eject(root *os.Root) error {
	untouched := in.untouched(root)
	var errs []error
	for _, name := range slices.Backward(in.made) {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	for _, f := range untouched {
		errs = append(errs, root.Chtimes(f.path, f.before, f.before))
	}
	return errors.Join(errs...)
}

// untouched are the folders that have not changed since Inject.
func (in *Injected) untouched(root *os.Root) []folder {
	return slices.DeleteFunc(slices.Clone(in.folders), func(f folder) bool {
		info, err := root.Lstat(f.path)
		return err != nil || !info.IsDir() || !info.ModTime().Equal(f.after)
	})
}

// injectError says whose fault it is that the agent is not in the disk. What is
// missing or in the way there is the image's doing, the rest is ours.
func injectError(err error) error {
	const reason = "the test agent cannot be put into the image"
	if !foundInImage(err) {
		return hostError(err, "", reason)
	}
	return bootError(err, "The image needs systemd, a real folder /"+unitFolder+" and some free space, and nothing called /"+agentFolder+".", "",
		"%s: %v", reason, err)
}

func foundInImage(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return true // errNoFolder, or a path that os.Root refuses to follow
	}
	switch errno {
	case unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.ELOOP, unix.ENOSPC:
		return true
	default:
		return false
	}
}
