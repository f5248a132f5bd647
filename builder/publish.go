package builder

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// publishable finds out before anything is built what would fail afterwards.
func (p *pipeline) publishable() error {
	to := p.req.Recipe.Publish
	if to == nil || p.req.Publisher != nil {
		return nil
	}
	return &Error{
		Fault: Author, Stage: StagePublish,
		Reason: fmt.Sprintf("the recipe has its image published to %s, for which nothing is configured here", to.Driver),
		Hint:   "take publish out of the recipe, or have the operator configure " + to.Driver,
	}
}

// preparation has the publisher get to know what an image is made of, while it is made.
// The nil one does nothing.
type preparation struct {
	parts  chan string
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// prepare begins with the parent.
func (p *pipeline) prepare(ctx context.Context) *preparation {
	preparer, can := p.req.Publisher.(Preparer)
	if p.req.Recipe.Publish == nil || !can {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &preparation{parts: make(chan string, 1+len(p.result.Keys.Layers)), cancel: cancel}
	a.parts <- p.result.Base.Ref
	a.work.Go(func() {
		for ctx.Err() == nil {
			select {
			case ref := <-a.parts:
				preparer.Prepare(ctx, PrepareSpec{Ref: ref, Via: p.req.Recipe.Publish.Via})
			case <-ctx.Done():
			}
		}
	})
	return a
}

// goOn goes on with the last layer of the instance.
func (a *preparation) goOn(inst Instance) {
	layered, can := inst.(Layered)
	if a == nil || !can {
		return
	}
	if ref := layered.Layer(); ref != "" {
		a.parts <- ref // there is room for the parent and all layers
	}
}

// end ends it: the publisher keeps what it has, and finds out the rest by itself.
func (a *preparation) end() {
	if a != nil {
		a.cancel()
		a.work.Wait()
	}
}

// publish adds the image to those of another driver, where the recipe asks for it.
// An image that was published before is only looked up.
func (p *pipeline) publish(ctx context.Context) error {
	to := p.req.Recipe.Publish
	if to == nil {
		return nil
	}
	return p.tell.stage(StagePublish, "", func() (EventKind, string, error) {
		published, err := p.req.Publisher.Publish(ctx, PublishSpec{
			Build: p.req.Build, Image: *p.result.Image, Parent: p.req.Parent,
			Recipe: p.req.Recipe.Name, Version: p.req.Recipe.Version.String(), Tags: p.req.Recipe.ImageTags(p.result.Image.Created), Via: to.Via,
		}, func(line string) { p.tell.output(StagePublish, "", line+"\n", false) })
		if err != nil {
			return Failed, "", inStage(err, StagePublish, "", "the image could not be published to "+to.Driver)
		}
		p.result.Published = &published
		return Succeeded, published.ID, nil
	})
}

// booter starts instances for tests: a Driver, or a Publisher.
type booter interface {
	Boot(ctx context.Context, spec BootSpec) (Guest, error)
	Keeper
}

// tested is the image that the tests are run on, and who starts instances of it.
func (p *pipeline) tested() (booter, Image) {
	if p.result.Published != nil {
		return p.req.Publisher, *p.result.Published
	}
	return p.driver, *p.result.Image
}

// tag gives the image of a release the tags that the recipe has now: it may have been
// made when it had others.
func (p *pipeline) tag(ctx context.Context) error {
	on, image := p.tested()
	tagger, can := on.(Tagger)
	tags := p.req.Recipe.ImageTags(time.Time{})
	if !can || !p.req.Release || len(tags) == 0 {
		return nil
	}
	changed, err := tagger.Tag(ctx, image, tags)
	switch {
	case err != nil:
		return inStage(err, StageDistribute, "", "the image could not be given the tags of the recipe")
	case changed:
		p.tell.mark(Succeeded, StageDistribute, "", "tags of "+image.ID)
	}
	return nil
}
