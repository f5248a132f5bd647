package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/local/mount"
	"github.com/seed-6db18919/ingot/builder/local/store"
)

// Launch implements builder.Driver. When another build is just making the first
// layer that is missing, it waits for that and starts from the layer.
func (d *Driver) Launch(ctx context.Context, spec builder.LaunchSpec) (builder.Instance, error) {
	w, err := d.newWorkspace(ctx, spec.Build)
	if err != nil {
		return nil, atStage(builder.StageLaunch, "no workspace could be made", err)
	}
	i := &instance{d: d, work: w, spec: spec}
	if err := i.begin(ctx); err != nil {
		return nil, errors.Join(err, i.Close(ctx))
	}
	return i, nil
}

// begin takes the deepest layer that there is, and the right to make the next one.
func (i *instance) begin(ctx context.Context) error {
	if err := i.findLayers(ctx); err != nil {
		return atStage(builder.StageLaunch, "the layers could not be read", err)
	}
	if err := i.start(); err != nil {
		return atStage(builder.StageLaunch, "the parent image could not be read", err)
	}
	return i.mounted(ctx)
}

// findLayers sets lease and held, and claim when a layer is missing.
func (i *instance) findLayers(ctx context.Context) error {
	for {
		if err := i.leaseDeepest(); err != nil {
			return err
		}
		if i.held == len(i.spec.Layers) {
			return nil
		}
		if err := i.claimNext(ctx, i.spec.Layers[i.held]); err != nil {
			return err
		}
		_, err := i.d.store.Layer(i.spec.Layers[i.held])
		if errors.Is(err, store.ErrNotFound) {
			i.next = i.held
			return nil
		}
		if err != nil {
			return err
		}
		// Somebody made it since we looked: start from it.
		if err := i.dropClaim(); err != nil {
			return err
		}
	}
}

func (i *instance) leaseDeepest() error {
	if err := i.lease.Release(); err != nil {
		return err
	}
	i.lease, i.held = nil, 0
	for n := len(i.spec.Layers); n > 0; n-- {
		lease, err := i.d.store.Lease(i.spec.Layers[n-1])
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		i.lease, i.held, i.next = lease, n, n
		return nil
	}
	return nil
}

func (i *instance) claimNext(ctx context.Context, key string) error {
	claim, ok, err := i.d.store.TryClaim(key)
	if err == nil && !ok {
		i.d.log.WithField("build", i.spec.Build).WithField("layer", key).Info("waiting for another build that makes the same layer")
		claim, err = i.d.store.Claim(ctx, key)
	}
	i.claim = claim
	return err
}

func (i *instance) dropClaim() error {
	claim := i.claim
	i.claim = nil
	return claim.Release()
}

// start decides what the first overlay is on. A parent that is one of our own layers
// is leased like any other.
func (i *instance) start() error {
	// Also with layers: they find the parent through the link that this makes.
	base, err := i.d.store.AddBase(plain(i.spec.Base.Digest)+".qcow2", i.spec.Base.Ref)
	if err != nil {
		return err
	}
	if i.held == 0 && base.Layer != "" {
		if i.lease, err = i.d.store.Lease(base.Layer); err != nil {
			return fmt.Errorf("the image %s: %w", i.spec.Base.Ref, err)
		}
	}
	if i.lease != nil {
		i.below, i.virtual = store.Below{Layer: i.lease.Layer.Key}, i.lease.Layer.Virtual
		return nil
	}
	i.below = base
	i.virtual, err = store.VirtualSize(i.spec.Base.Ref)
	return err
}

// atStage says who has to act on an error of this package. What is an Error already,
// and the end of a context, stay what they are.
func atStage(stage builder.Stage, reason string, err error) error {
	var known *builder.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, mount.ErrDamaged):
		return &builder.Error{
			Fault: builder.Author, Stage: stage, Err: err,
			Reason: "the root filesystem is damaged",
			Hint:   "repair it where the parent image was made (e2fsck -f), or find the component that writes to the disk below the filesystem",
		}
	case errors.Is(err, mount.ErrNoRoot):
		return &builder.Error{
			Fault: builder.Author, Stage: stage, Err: err,
			Reason: "the parent image has no root filesystem that can be mounted",
			Hint:   "the local driver needs a parent with a Linux root filesystem of type ext4, outside LVM and encryption",
		}
	}
	return &builder.Error{Stage: stage, Reason: reason, Err: err}
}
