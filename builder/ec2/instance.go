package ec2

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// instance is a build instance.
type instance struct {
	*machine
	spec   builder.LaunchSpec
	closed bool
}

var (
	_ builder.Instance = (*instance)(nil)
	_ builder.Lasting  = (*instance)(nil)
)

// Launch implements builder.Driver. A build that an earlier process began goes on
// with the instance that it has.
func (d *Driver) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	m, err := d.bring(ctx, start{ami: spec.Base.Ref, build: spec.Build, role: roleBuild, on: spec.Infrastructure, diskGiB: spec.DiskGiB, devices: spec.BlockDevices, boot: spec.UserData, agent: d.agent(spec.AWS)})
	if err != nil {
		return nil, failed(builder.StageLaunch, "the build instance did not start", err)
	}
	i := &instance{machine: m, spec: spec}
	if err := i.afterBoot(ctx); err != nil {
		if builder.GoesOn(ctx) {
			return nil, err
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
		defer cancel()
		return nil, errors.Join(err, i.Close(closing))
	}
	return i, nil
}

func (d *Driver) agent(aws bool) string {
	if aws && d.cfg.AWSAgent != "" {
		return d.cfg.AWSAgent
	}
	return d.cfg.Agent
}

// Held implements builder.Instance: EC2 has no layers.
func (i *instance) Held() int { return 0 }

// Keep implements builder.Instance.
func (i *instance) Keep(context.Context, string) error { return nil }

// Run implements builder.Instance.
func (i *instance) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	return i.machine.run(ctx, builder.StageBuild, job, emit)
}

// run runs a job on the instance.
func (m *machine) run(ctx context.Context, stage builder.Stage, job component.Job, emit func(component.Event)) (component.Result, error) {
	outcome, err := m.operate(ctx, relay.Request{Op: relay.Run, Job: &job}, emit)
	return m.result(stage, outcome, err, emit)
}

// result is what the outcome of a job means.
func (m *machine) result(stage builder.Stage, outcome relay.Outcome, err error, emit func(component.Event)) (component.Result, error) {
	if err != nil {
		return component.Result{}, failed(stage, "the component could not be run on instance "+m.id, err)
	}
	var result component.Result
	if outcome.Result != nil {
		result = *outcome.Result
	}
	result.Reboot = false
	if outcome.Error != "" {
		return result, &builder.Error{Fault: builder.Transient, Stage: stage, Reason: "the component could not be run to its end", Err: errors.New(clip(outcome.Error))}
	}
	if outcome.Result == nil {
		return result, &builder.Error{Stage: stage, Reason: "the agent on instance " + m.id + " ended without a result"}
	}
	emit(component.Event{Time: time.Now(), Kind: component.Finished, Status: result.Status, Result: &result})
	return result, nil
}

// Put implements builder.Instance.
func (i *instance) Put(ctx context.Context, tree recipe.Tree, files []recipe.Files) error {
	source, err := i.pack(ctx, tree, files)
	if err != nil {
		return failed(builder.StageFiles, "the recipe's files could not be delivered", err)
	}
	outcome, err := i.operate(ctx, relay.Request{Op: relay.Put, Archive: &source}, func(component.Event) {})
	if err != nil {
		return failed(builder.StageFiles, "the recipe's files could not be put on the instance", err)
	}
	switch {
	case outcome.Author:
		return &builder.Error{Fault: builder.Author, Stage: builder.StageFiles, Reason: "the files could not be put: " + clip(outcome.Error),
			Hint: "check destination, owner, group and permissions against what is in the parent image"}
	case outcome.Error != "":
		return &builder.Error{Fault: builder.Transient, Stage: builder.StageFiles, Reason: "the files could not be put", Err: errors.New(clip(outcome.Error))}
	}
	return nil
}

// pack puts the files into the bucket as an archive that is named by its content.
func (i *instance) pack(ctx context.Context, tree recipe.Tree, files []recipe.Files) (source relay.Source, err error) {
	f, err := os.CreateTemp("", "ingot-files-*.tar")
	if err != nil {
		return source, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	sum := sha256.New()
	if err := writeArchive(ctx, io.MultiWriter(f, sum), tree, files); err != nil {
		return source, err
	}
	info, err := f.Stat()
	if err != nil {
		return source, err
	}
	source = relay.Source{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: info.Size()}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return source, err
	}
	_, err = i.d.aws.Objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(i.d.cfg.Bucket), Key: aws.String(i.d.archiveKey(source)), Body: f})
	return source, err
}

// archiveKey is where an archive of files lies.
func (d *Driver) archiveKey(s relay.Source) string { return d.cfg.Prefix + "files/" + s.SHA256 }

// writeArchive writes files with the names, owners and modes that they get on the
// instance.
func writeArchive(ctx context.Context, out io.Writer, tree recipe.Tree, files []recipe.Files) error {
	w := tar.NewWriter(out)
	for _, f := range files {
		var mode *fs.FileMode
		if f.Permissions != "" {
			bits, err := strconv.ParseUint(f.Permissions, 8, 12)
			if err != nil {
				return &builder.Error{Fault: builder.Author, Stage: builder.StageFiles, Reason: fmt.Sprintf("permissions %q are no octal number up to 7777", f.Permissions)}
			}
			m := fileMode(uint32(bits))
			mode = &m
		}
		for _, e := range f.Entries {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := writeEntry(w, tree, f, e, mode); err != nil {
				return fmt.Errorf("%s: %w", e.Path, err)
			}
		}
	}
	return w.Close()
}

// fileMode turns the bits of chmod into Go's.
func fileMode(bits uint32) fs.FileMode {
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

func writeEntry(w *tar.Writer, tree recipe.Tree, f recipe.Files, e recipe.File, mode *fs.FileMode) error {
	h := &tar.Header{Name: strings.TrimPrefix(e.Target, "/"), Uname: f.Owner, Gname: f.Group, Format: tar.FormatPAX}
	bits := e.Mode
	switch {
	case e.Mode.IsDir():
		h.Typeflag, bits = tar.TypeDir, 0o755
	case e.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
		if mode != nil {
			bits = *mode
		}
	}
	h.Mode = int64(bits.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if bits&flag != 0 {
			h.Mode |= bit
		}
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	content, err := tree.Open(e.Path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, content.Close())
}

// Clean implements builder.Instance. The agent and, where the image did not have it,
// the agent of Systems Manager stay until the instance is stopped.
func (i *instance) Clean(ctx context.Context) error {
	if i.windows {
		return i.sysprep(ctx)
	}
	return i.clean(ctx, i.spec.WorkingDir)
}

func (m *machine) clean(ctx context.Context, workingDir string) error {
	outcome, err := m.operate(ctx, relay.Request{Op: relay.Clean, Clean: &relay.CleanSpec{WorkingDir: workingDir}}, func(component.Event) {})
	if err != nil {
		return failed(builder.StageClean, "the instance could not be cleaned up", err)
	}
	if outcome.Error != "" {
		return &builder.Error{Stage: builder.StageClean, Reason: "what must not be in an image could not be removed", Err: errors.New(clip(outcome.Error))}
	}
	return nil
}

// Close implements builder.Instance. What it can't end is left to Sweep.
func (i *instance) Close(ctx context.Context) error {
	if i.closed {
		return nil
	}
	i.closed = true
	return i.terminate(ctx)
}

// Leave implements builder.Lasting.
func (i *instance) Leave() { i.closed = true }

// tag puts tags on things that are there.
func (d *Driver) tag(ctx context.Context, tags map[string]string, ids ...string) error {
	in := &ec2.CreateTagsInput{Resources: ids}
	for key, value := range tags {
		in.Tags = append(in.Tags, ec2Tag(key, value))
	}
	_, err := d.aws.Compute.CreateTags(ctx, in)
	return err
}
