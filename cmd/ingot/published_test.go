package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/buildertest"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2"
	"github.com/seed-6db18919/ingot/builder/recipe"
	"github.com/seed-6db18919/ingot/internal/githubfake"
	"github.com/seed-6db18919/ingot/internal/ledger"
	"github.com/seed-6db18919/ingot/reporter"
)

// register publishes every image as one of EC2, and starts what the driver of the
// images would.
type register struct{ *buildertest.Driver }

func (register) Publish(_ context.Context, spec builder.PublishSpec, _ func(string)) (builder.Image, error) {
	img := spec.Image
	img.ID, img.Driver = amiOf(img.ID), ec2.Name
	return img, nil
}

// amiOf is the id of an AMI for that of a local image.
func amiOf(id string) string { return "ami-00000" + strings.TrimPrefix(id, "img-") }

// newCloud is a cloud whose driver is never asked for anything.
func newCloud(t *testing.T, publisher builder.Publisher) *cloud {
	t.Helper()
	driver, err := ec2.New(ec2.Config{Owner: "test", Bucket: "ingot-test", Infrastructure: ec2.Infrastructure{InstanceProfile: "ingot", InstanceTypes: []string{"t3.small"}}, Agent: "ingot-agent"})
	must(t, err)
	return &cloud{driver: driver, publisher: publisher}
}

// TestPublishedImageIsTold: the id of an AMI is wherever that of the image is that it
// was made of, in each build that has the image.
func TestPublishedImageIsTold(t *testing.T) {
	w := newWorld(t)
	w.cloud = newCloud(t, register{w.driver})
	w.must(w.repo.copy())
	first := w.commit("Add images")
	w.start()
	w.status(first, "ingot/web", isState("success"))

	const asked = "publish: {driver: ec2}\nparentImage: debian-12"
	w.branch("topic", true)
	w.must(w.repo.replace("recipes/web/recipe.yaml", "parentImage: debian-12", asked))
	candidate := w.commit("Publish")
	w.branch("main", false)
	w.pull(githubfake.Pull{Number: 7, Head: candidate, HeadRef: "topic"})
	s := w.status(candidate, "ingot/web", isState("success"))
	built := w.builds(candidate)[0]
	ami := amiOf(built.Image.ID)
	if built.Image.Published != ami || !strings.Contains(s.Description, " · "+ami+" · ") {
		t.Errorf("published as %q, status %q; want %s", built.Image.Published, s.Description, ami)
	}
	w.eventually(func() (bool, string) {
		c := w.github.Comments(ownerRepo, 7)
		return len(c) == 1 && strings.Contains(c[0].Body, " as `"+ami+"` |"), fmt.Sprintf("comments %+v", c)
	})

	t.Log("a release is that of the candidate")
	w.must(w.repo.repo.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", plumbing.NewHash(candidate))))
	w.eventually(func() (bool, string) {
		for _, b := range w.builds(candidate) {
			if b.Release && b.State == reporter.Succeeded {
				return b.Number == 2 && b.Image.Published == ami, fmt.Sprintf("release %+v", b.Image)
			}
		}
		return false, "no release yet"
	})

	t.Log("a build that does not ask for it shows what its image was published as")
	w.branch("main", false)
	w.must(w.repo.replace("recipes/web/recipe.yaml", asked, "parentImage: debian-12"))
	third := w.commit("Publish no more")
	if s := w.status(third, "ingot/web", isState("success")); !strings.Contains(s.Description, ami) {
		t.Errorf("status %q", s.Description)
	}

	images, err := w.daemon.parts.ledger.Images(t.Context(), ledger.ImageFilter{Recipe: "web", Released: true})
	w.must(err)
	releases, err := w.daemon.parts.ledger.Releases(t.Context(), "web", 1)
	w.must(err)
	for driver, want := range map[string]string{ec2.Name: ami, releases[0].Image.Driver: releases[0].Image.Ref} {
		child := &recipe.Recipe{Infrastructure: recipe.Infrastructure{Driver: driver}}
		if parent, err := w.daemon.parts.parentFor(t.Context(), child, &releases[0].Image); err != nil || parent.Driver != driver || parent.Ref != want {
			t.Errorf("a recipe of driver %s stands on %+v, %v; want %s", driver, parent, err, want)
		}
	}
	if len(images) != 1 || images[0].Published != ami || !strings.HasPrefix(images[0].Name, "web/") {
		t.Errorf("images %+v", images)
	}
}

// TestWhatFailsItsTestsIsNoRelease: of the release branch too, the image counts as one
// only when it has passed, though it is made and published; with its tests it is.
func TestWhatFailsItsTestsIsNoRelease(t *testing.T) {
	w := newWorld(t)
	w.cloud = newCloud(t, register{w.driver})
	w.must(w.repo.copy())
	w.must(w.repo.replace("recipes/web/recipe.yaml", "parentImage: debian-12", "publish: {driver: ec2}\nparentImage: debian-12"))
	w.driver.Fail["http test"] = component.Failure{Path: "recipes/web/tests/http.yaml", Phase: "test", Step: "Answers", Action: "ExecuteBash", Message: "exit status 7"}
	bad := w.commit("Add images")
	w.start()
	s := w.status(bad, "ingot/web", isState("failure"))
	releases, err := w.daemon.parts.ledger.Releases(t.Context(), "web", 10)
	w.must(err)
	images, err := w.daemon.parts.ledger.Images(t.Context(), ledger.ImageFilter{Recipe: "web"})
	w.must(err)
	if len(releases) != 0 || len(images) != 1 || images[0].Published == "" || images[0].Name != "" {
		t.Errorf("status %q, releases %+v, images %+v", s.Description, releases, images)
	}

	t.Log("without that test it is one")
	w.must(w.repo.replace("recipes/web/recipe.yaml", "  - component: ./tests/http.yaml\n", ""))
	good := w.commit("Drop the test")
	w.status(good, "ingot/web", isState("success"))
	if releases, err = w.daemon.parts.ledger.Releases(t.Context(), "web", 10); err != nil || len(releases) != 1 || releases[0].Image.ID != images[0].ID {
		t.Errorf("releases %+v, %v; want %s", releases, err, images[0].ID)
	}
}

// TestRegionThatIsNotTheDaemons is told to the author with the line, and nothing is built.
func TestRegionThatIsNotTheDaemons(t *testing.T) {
	w := newWorld(t)
	w.cloud = newCloud(t, register{w.driver})
	w.more = "aws: {region: eu-west-1, bucket: ingot-test, instanceProfile: ingot}\n"
	w.must(w.repo.copy())
	for region, state := range map[string]string{"eu-central-1": "failure", "eu-west-1": "success"} {
		w.must(w.repo.replace("recipes/web/recipe.yaml", "parentImage: debian-12", "publish: {driver: ec2, region: "+region+"}\nparentImage: debian-12"))
		commit := w.commit("Publish in " + region)
		if w.daemon == nil {
			w.start()
		}
		w.status(commit, "ingot/web", isState(state))
		built := w.builds(commit)
		if len(built) == 0 || (state == "failure") != (built[0].Image == nil) {
			t.Errorf("%s: %+v", region, built)
		}
		w.must(w.repo.replace("recipes/web/recipe.yaml", "publish: {driver: ec2, region: "+region+"}\n", ""))
	}
}
