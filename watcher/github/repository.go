package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/seed-6db18919/ingot/watcher"
)

const (
	// maxPages bounds a list: 10,000 of whatever it lists.
	maxPages = 100
	// maxCandidates bounds for how many people of one pull request the permission
	// is asked: anybody may comment, and every question costs.
	maxCandidates = 50
)

// Repository is one repository on GitHub. It satisfies watcher.PullRequests.
type Repository struct {
	client      *Client
	owner, name string
	branch      string
}

var fullName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Open lists the open pull requests against the branch, by number.
func (r *Repository) Open(ctx context.Context) ([]watcher.PullRequest, error) {
	options := &github.PullRequestListOptions{State: "open", Base: r.branch, Sort: "created", Direction: "asc"}
	all, resp, err := pages(&options.ListOptions, func() ([]*github.PullRequest, *github.Response, error) {
		return r.client.api.PullRequests.List(ctx, r.owner, r.name, options)
	})
	if err != nil {
		return nil, r.problem("listing pull requests", resp, err)
	}
	out := make([]watcher.PullRequest, 0, len(all))
	for _, p := range all {
		if p.GetBase().GetRef() != r.branch {
			continue
		}
		if !fullName.MatchString(p.GetHead().GetSHA()) || p.GetNumber() < 1 {
			return nil, r.problem("listing pull requests", nil, fmt.Errorf("number %d with head %q", p.GetNumber(), p.GetHead().GetSHA()))
		}
		out = append(out, describe(p))
	}
	slices.SortFunc(out, func(a, b watcher.PullRequest) int { return cmp.Compare(a.Number, b.Number) })
	return slices.CompactFunc(out, func(a, b watcher.PullRequest) bool { return a.Number == b.Number }), nil
}

// describe translates a pull request. Where it is unclear whether it comes from a
// fork, it does.
func describe(p *github.PullRequest) watcher.PullRequest {
	from, to := p.GetHead().GetRepo().GetFullName(), p.GetBase().GetRepo().GetFullName()
	return watcher.PullRequest{
		Number:   p.GetNumber(),
		Head:     p.GetHead().GetSHA(),
		HeadRef:  p.GetHead().GetRef(),
		HeadRepo: from,
		Fork:     from == "" || !strings.EqualFold(from, to),
		Base:     p.GetBase().GetRef(),
		Author:   p.GetUser().GetLogin(),
		Title:    p.GetTitle(),
		Draft:    p.GetDraft(),
		URL:      p.GetHTMLURL(),
	}
}

// pages asks for one page after the other. The response is that of a failure.
func pages[T any](options *github.ListOptions, ask func() ([]T, *github.Response, error)) ([]T, *github.Response, error) {
	options.PerPage = 100
	var all []T
	for range maxPages {
		page, resp, err := ask()
		if err != nil {
			return nil, resp, err
		}
		all = append(all, page...)
		if resp.NextPage == 0 {
			return all, nil, nil
		}
		options.Page = resp.NextPage
	}
	return nil, nil, fmt.Errorf("there are more than %d", len(all))
}

// Permission returns what a user may do: admin, maintain, write, triage, read or
// none. A repository's own roles show as what they are based on.
func (r *Repository) Permission(ctx context.Context, user string) (string, error) {
	level, resp, err := r.client.api.Repositories.GetPermissionLevel(ctx, r.owner, r.name, user)
	if err != nil {
		return "", r.problem("asking for the permission of "+user, resp, err)
	}
	return cmp.Or(level.GetPermission(), "none"), nil
}

// mayApprove reports whether a permission includes writing. What it does not know
// does not.
func mayApprove(permission string) bool {
	switch permission {
	case "admin", "maintain", "write":
		return true
	}
	return false
}

// Approved reports whether somebody with write permission has approved exactly
// this commit of a pull request, and who: by a review of this commit that
// approves, and was not taken back by the same person, or by a comment with a line
//
//	/ingot build <full name of the commit>
//
// The name has to be full: a stranger could make a second commit with the same
// beginning. Nothing that cannot be found out counts as approval.
func (r *Repository) Approved(ctx context.Context, number int, commit string) (by string, ok bool, err error) {
	if !fullName.MatchString(commit) {
		return "", false, fmt.Errorf("%q is not the full name of a commit", commit)
	}
	reviewers, err := r.reviewers(ctx, number, commit)
	if err != nil {
		return "", false, err
	}
	commenters, err := r.commenters(ctx, number, commit)
	if err != nil {
		return "", false, err
	}
	var errs []error
	for _, user := range candidates(reviewers, commenters) {
		permission, err := r.Permission(ctx, user)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if mayApprove(permission) {
			return user, true, nil
		}
	}
	return "", false, errors.Join(errs...)
}

// candidates names everybody once, those who came last first, and of each list not
// too many.
func candidates(lists ...[]string) []string {
	var out []string
	for _, list := range lists {
		end := len(out) + maxCandidates
		for _, user := range slices.Backward(list) {
			if len(out) < end && !slices.Contains(out, user) {
				out = append(out, user)
			}
		}
	}
	return out
}

// reviewers are the users whose last word on the commit, in a review, is approval,
// in the order in which they gave it.
func (r *Repository) reviewers(ctx context.Context, number int, commit string) ([]string, error) {
	options := &github.ListOptions{}
	all, resp, err := pages(options, func() ([]*github.PullRequestReview, *github.Response, error) {
		return r.client.api.PullRequests.ListReviews(ctx, r.owner, r.name, number, options)
	})
	if err != nil {
		return nil, r.problem("listing reviews", resp, err)
	}
	slices.SortStableFunc(all, func(a, b *github.PullRequestReview) int {
		return a.GetSubmittedAt().Compare(b.GetSubmittedAt().Time)
	})
	var out []string
	for _, review := range all {
		user := review.GetUser().GetLogin()
		if user == "" || review.GetCommitID() != commit {
			continue
		}
		switch review.GetState() {
		case "APPROVED":
			out = append(out, user)
		case "CHANGES_REQUESTED", "DISMISSED":
			out = slices.DeleteFunc(out, func(u string) bool { return u == user })
		}
	}
	return out, nil
}

// commenters are the users who asked in a comment for the commit to be built.
func (r *Repository) commenters(ctx context.Context, number int, commit string) ([]string, error) {
	options := &github.IssueListCommentsOptions{}
	all, resp, err := pages(&options.ListOptions, func() ([]*github.IssueComment, *github.Response, error) {
		return r.client.api.Issues.ListComments(ctx, r.owner, r.name, number, options)
	})
	if err != nil {
		return nil, r.problem("listing comments", resp, err)
	}
	var out []string
	for _, c := range all {
		if user := c.GetUser().GetLogin(); user != "" && asksFor(c.GetBody(), commit) {
			out = append(out, user)
		}
	}
	return out, nil
}

// asksFor reports whether a line of a comment is the command to build the commit.
// Quoted text begins with '>' and is somebody else's.
func asksFor(body, commit string) bool {
	for line := range strings.Lines(body) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "/ingot" && words[1] == "build" && words[2] == commit {
			return true
		}
	}
	return false
}
