package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// Driver implements builder.Driver on EC2. It is safe for concurrent use.
type Driver struct {
	cfg     Config
	aws     Services
	parents *catalogue.Catalogue
	inbox   *inbox
	states  *states

	agents sync.Map      // file of an agent: *delivered
	waits  publish.Waits // for imports
}

var (
	_ builder.Driver = (*Driver)(nil)
	_ builder.Tagger = (*Driver)(nil)
)

// Name implements builder.Driver.
func (d *Driver) Name() string { return Name }

// Close ends what runs in the background. No call may be going on.
func (d *Driver) Close() {
	d.inbox.close()
	d.states.close()
}

// Revision implements builder.Driver: the id of an AMI, or the content of an object.
func (d *Driver) Revision(ctx context.Context, p recipe.Parent) (string, error) {
	if p.Kind == recipe.ParentObject {
		return d.objectRevision(ctx, objectParentOf(p))
	}
	ami, err := d.parents.Revision(ctx, p.Text, d.architecture())
	return ami, failed(builder.StageResolve, "the parent image "+p.Text+" could not be looked up", err)
}

// Resolve implements builder.Driver.
func (d *Driver) Resolve(ctx context.Context, p builder.ParentSource, log func(string)) (builder.Base, error) {
	if p.Kind == recipe.ParentObject {
		base, err := d.importObject(ctx, objectParentOf(p.Parent), p.Build, log)
		return base, failed(builder.StageResolve, "the parent image "+p.Text+" could not be imported", err)
	}
	name, err := d.parentName(p)
	if err != nil {
		return builder.Base{}, err
	}
	image, err := d.parents.Resolve(ctx, name, d.architecture())
	if err != nil {
		return builder.Base{}, failed(builder.StageResolve, "the parent image "+p.Text+" could not be looked up", err)
	}
	if image.ID != p.Text {
		log(fmt.Sprintf("%s is %s (%s)", p.Text, image.ID, image.Name))
	}
	if image.Notice != "" {
		log(p.Text + ": " + image.Notice)
	}
	return builder.Base{Ref: image.ID, Digest: image.ID, Revision: image.ID, Platform: image.Platform}, nil
}

// parentName is what the catalogue knows a parent by. The id of an AMI names its
// content for ever: nothing of it changes after it was made.
func (d *Driver) parentName(p builder.ParentSource) (string, error) {
	if p.Kind != recipe.ParentRecipe || p.Image == nil {
		return p.Text, nil
	}
	if p.Image.Driver != Name {
		return "", &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("the image of %s was made by driver %s and is no AMI", p.Name, p.Image.Driver),
			Hint:   "have it published there, with publish: {driver: ec2} in its recipe, or build it with driver ec2, too"}
	}
	return p.Image.Ref, nil
}

// architecture is that of all instance types: New has made sure of it.
func (d *Driver) architecture() string { return catalogue.ArchitectureOf(d.cfg.InstanceTypes[0]) }

// describeImage is one AMI, ours or not.
func (d *Driver) describeImage(ctx context.Context, ami string) (types.Image, error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	switch {
	case isOne(err, notYet) || strings.HasPrefix(code(err), "InvalidAMIID"), err == nil && len(out.Images) == 0:
		return types.Image{}, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("there is no image %s in %s that this account may use", ami, d.cfg.Region), Hint: "check parentImage", Err: err}
	case err != nil:
		return types.Image{}, err
	case out.Images[0].State != types.ImageStateAvailable:
		return types.Image{}, &builder.Error{Fault: builder.Author, Stage: builder.StageResolve,
			Reason: fmt.Sprintf("image %s is %s", ami, out.Images[0].State), Hint: "choose another parentImage"}
	}
	return out.Images[0], nil
}

// Image implements builder.Driver. One that a build of another ledger has completed
// serves as well.
func (d *Driver) Image(ctx context.Context, key string) (builder.Image, bool, error) {
	image, found, err := d.imageByKey(ctx, key)
	if err != nil || !found {
		return builder.Image{}, false, failed(builder.StageImage, "the images of the account could not be listed", err)
	}
	made, err := d.finished(ctx, image)
	return made, err == nil, failed(builder.StageImage, "the image's inventory could not be read", err)
}

// imageByKey is the newest AMI of a build key that was completed.
func (d *Driver) imageByKey(ctx context.Context, key string) (types.Image, bool, error) {
	out, err := d.aws.Compute.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: d.ours(filter("tag:"+tagKey, key)),
	})
	if err != nil {
		return types.Image{}, false, err
	}
	images := slices.DeleteFunc(out.Images, func(i types.Image) bool {
		return i.State != types.ImageStateAvailable || tagOf(i.Tags, tagImage) == ""
	})
	if len(images) == 0 {
		return types.Image{}, false, nil
	}
	return slices.MaxFunc(images, func(a, b types.Image) int {
		return strings.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	}), true, nil
}
