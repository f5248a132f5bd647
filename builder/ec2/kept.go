package ec2

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/catalogue"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// retain keeps the instance as it runs. Its tags say until when, to any process.
func (m *machine) retain(ctx context.Context, k builder.Kept) (builder.Kept, error) {
	k.Driver, k.Ref, k.Ledger, k.Recipe = Name, m.id, m.d.cfg.Ledger, recipeTag(k.Recipe)
	tags := map[string]string{tagKept: k.Until.UTC().Format(time.RFC3339), tagSince: k.Since.UTC().Format(time.RFC3339Nano)}
	if k.Recipe != "" {
		tags[tagRecipe] = k.Recipe
	}
	return k, failed(k.Stage, "instance "+m.id+" could not be kept", m.d.tag(ctx, tags, m.id))
}

// recipeTag is a recipe as a tag can hold it: still another one than any other.
func recipeTag(recipe string) string {
	recipe = strings.ToValidUTF8(recipe, "\ufffd")
	if clipped := clipTag(recipe); clipped == recipe {
		return recipe
	}
	return clipTag(token(recipe) + " " + recipe)
}

// Retain implements builder.Instance.
func (i *instance) Retain(ctx context.Context, k builder.Kept) (builder.Kept, error) {
	if i.closed {
		return k, errors.New("the instance was given back")
	}
	k, err := i.retain(ctx, k)
	i.closed = err == nil
	return k, err
}

// Retain implements builder.Guest.
func (g *guest) Retain(ctx context.Context, k builder.Kept) (builder.Kept, error) {
	if g.closed {
		return k, errors.New("the instance was given back")
	}
	k, err := g.retain(ctx, k)
	g.closed = err == nil
	return k, err
}

// keptUntil reads the tag of an instance. A value that is no time, which a person
// may have written, keeps it until somebody removes it.
func keptUntil(tags []types.Tag) (until time.Time, kept bool) {
	text := tagOf(tags, tagKept)
	until, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, text != ""
	}
	return until, true
}

// expired tells whether an instance was kept, and its time is over.
func expired(tags []types.Tag) bool {
	until, kept := keptUntil(tags)
	return kept && !until.IsZero() && time.Now().After(until)
}

// keptSince is when that began, or at the latest when the instance was launched.
func keptSince(i types.Instance) time.Time {
	if since, err := time.Parse(time.RFC3339, tagOf(i.Tags, tagSince)); err == nil {
		return since
	}
	return aws.ToTime(i.LaunchTime)
}

// kept are the instances that are, the oldest first. Who has no ledger sees those of all.
func (d *Driver) kept(ctx context.Context) ([]types.Instance, error) {
	find := d.instances
	if d.cfg.Ledger == "" {
		find = d.ownersInstances
	}
	all, err := find(ctx)
	if err != nil {
		return nil, failed("", "the instances of the account could not be listed", err)
	}
	all = slices.DeleteFunc(all, func(i types.Instance) bool { return over(i) || tagOf(i.Tags, tagKept) == "" })
	slices.SortStableFunc(all, func(a, b types.Instance) int { return keptSince(a).Compare(keptSince(b)) })
	return all, nil
}

// keptOf are those of a build. Two ledgers may each have a build of that number.
func (d *Driver) keptOf(ctx context.Context, build string) ([]types.Instance, error) {
	all, err := d.kept(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i types.Instance) bool { return tagOf(i.Tags, tagBuild) != build })
	if len(all) == 0 {
		return nil, builder.ErrNotKept
	}
	of := map[string]string{}
	for _, i := range all {
		if ledger := tagOf(i.Tags, tagLedger); ledger != "" {
			of[ledger] = fmt.Sprintf("%s (%s)", ledger, aws.ToString(i.InstanceId))
		}
	}
	if len(of) > 1 {
		return nil, fmt.Errorf("several ledgers keep an instance of a build %s: %s; name the one that is meant with --ledger, `ingot kept` lists their recipes",
			build, strings.Join(slices.Sorted(maps.Values(of)), ", "))
	}
	return all, nil
}

// Kept implements builder.Keeper.
func (d *Driver) Kept(ctx context.Context) ([]builder.Kept, error) {
	all, err := d.kept(ctx)
	var out []builder.Kept
	for _, i := range all {
		until, _ := keptUntil(i.Tags)
		out = append(out, builder.Kept{
			Build: tagOf(i.Tags, tagBuild), Ledger: tagOf(i.Tags, tagLedger), Recipe: tagOf(i.Tags, tagRecipe), Stage: stageOf(role(tagOf(i.Tags, tagRole))), Driver: Name, Ref: aws.ToString(i.InstanceId),
			Since: keptSince(i), Until: until,
		})
	}
	return out, err
}

// stageOf is where documents run on an instance.
func stageOf(r role) builder.Stage {
	if r == roleTest {
		return builder.StageTest
	}
	return builder.StageBuild
}

// Exec implements builder.Keeper, through Systems Manager like all else. Several
// commands may run at a time.
func (d *Driver) Exec(ctx context.Context, build string, command []string, emit func(component.Event)) (int, error) {
	all, err := d.keptOf(ctx, build)
	if err != nil {
		return 0, err
	}
	i := all[len(all)-1]
	m := &machine{
		d: d, id: aws.ToString(i.InstanceId), build: build, role: role(tagOf(i.Tags, tagRole)),
		windows: catalogue.IsWindows(i.Platform), agent: d.cfg.Agent,
	}
	if i.State != nil && i.State.Name != types.InstanceStateNameRunning && i.State.Name != types.InstanceStateNamePending {
		return 0, &builder.Error{Stage: stageOf(m.role), Reason: "instance " + m.id + " is " + string(i.State.Name),
			Hint: "start it, or remove it: it runs no commands like this"}
	}
	dir := "/"
	if m.windows {
		dir, m.agent = "", d.cfg.WindowsAgent
	}
	if m.agent == "" {
		return 0, errNoWindowsAgent
	}
	return builder.RunCommand(ctx, once{m}, dir, command, emit)
}

// once runs jobs that no other process takes up.
type once struct{ *machine }

// Run implements builder.Runner.
func (m once) Run(ctx context.Context, job component.Job, emit func(component.Event)) (component.Result, error) {
	outcome, err := m.perform(ctx, relay.Request{ID: "exec-" + rand.Text(), Op: relay.Run, Job: &job}, emit)
	if err != nil {
		return component.Result{}, failed(stageOf(m.role), "the command could not be run on instance "+m.id, err)
	}
	return m.result(stageOf(m.role), outcome, nil, emit)
}

// Remove implements builder.Keeper.
func (d *Driver) Remove(ctx context.Context, build string) error {
	all, err := d.keptOf(ctx, build)
	if err != nil {
		return err
	}
	for _, i := range all {
		err = errors.Join(err, (&machine{d: d, id: aws.ToString(i.InstanceId)}).terminate(ctx))
	}
	return err
}

// Displace implements builder.Keeper.
func (d *Driver) Displace(ctx context.Context, k builder.Kept) error {
	m := &machine{d: d, id: k.Ref}
	for begin := time.Now(); ; {
		busy, err := m.busy(ctx)
		if err != nil {
			return failed(k.Stage, "whether a command runs on instance "+m.id+" could not be found out", err)
		}
		if !busy {
			return m.terminate(ctx)
		}
		if time.Since(begin) > d.cfg.pace.ended {
			return builder.ErrInUse
		}
		if err := pause(ctx, d.cfg.pace.inbox); err != nil {
			return err
		}
	}
}

// busy tells whether Systems Manager has a command for the instance that has not
// ended, whoever sent it and from wherever.
func (m *machine) busy(ctx context.Context) (bool, error) {
	pages := ssm.NewListCommandInvocationsPaginator(m.d.aws.Commands, &ssm.ListCommandInvocationsInput{InstanceId: aws.String(m.id)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if code(err) == "InvalidInstanceId" {
			return false, nil // out of its reach: nothing that it sent runs there
		}
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(page.CommandInvocations, underWay) {
			return true, nil
		}
	}
	return false, nil
}
