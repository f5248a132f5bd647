package reporter

import (
	"fmt"
	"strings"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func image(id string, size int64, packages ...Package) *Image {
	return &Image{ID: id, Repository: "golden-images", Recipe: "web-server", Size: size, OS: "Debian GNU/Linux 12 (bookworm)", Packages: packages}
}

func succeeded() Build {
	return Build{
		ID: 41, Repository: "golden-images", CodeHost: "acme/golden-images", Ref: "refs/pull/7/head", PullRequest: 7,
		Commit: "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c", Recipe: "web-server", RecipePath: "recipes/web/recipe.yaml",
		Version: "1.4.0", PreviousVersion: "1.3.0", Action: ActionBuild, State: Succeeded, Components: 2, TestComponents: 2,
		Why: []string{"components/nginx.yaml changed"},
		Tests: []Test{
			{Name: "simple-boot-test-linux", State: "succeeded", Steps: 1, Duration: 11200 * time.Millisecond},
			{Name: "http", State: "succeeded", Steps: 3, Duration: 2100 * time.Millisecond},
		},
		Image: image("img-3f9a1c2b4d5e", 612_000_000,
			Package{"libc6", "2.36-9+deb12u14", "amd64"}, Package{"nginx", "1.22.1-9+deb12u3", "amd64"}, Package{"nginx-common", "1.22.1-9+deb12u3", "all"}),
		PreviousImage: image("img-00aa11bb22cc", 608_900_000,
			Package{"libc6", "2.36-9+deb12u14", "amd64"}, Package{"nginx", "1.22.1-9+deb12u2", "amd64"}, Package{"nginx-light", "1.22.1-9+deb12u2", "amd64"}),
		Created: noon, Started: noon.Add(time.Second), Finished: noon.Add(18 * time.Second),
	}
}

// scanned is a hardened image whose author has broken a rule or two.
func scanned() Build {
	b := succeeded()
	b.ID, b.Recipe = 46, "hardened"
	const profile = "anssi_bp28_enhanced, data 0.1.76"
	umask := Rule{"accounts_umask_etc_profile", "medium", "Ensure the Default umask is Set Correctly in /etc/profile"}
	b.Tests = append(b.Tests, Test{Name: "compliance-scan", State: "succeeded", Steps: 2, Duration: 40 * time.Second, Scan: &Scan{
		Profile: profile, Score: 88.4, Passed: 230,
		Failed: []Rule{{"sudo_add_noexec", "high", "NOEXEC"}, {"sshd_disable_root_login", "medium", "Disable SSH Root Login"}, umask, {"timer_logrotate_enabled", "low", ""}},
	}})
	b.PreviousTests = []Test{{Name: "compliance-scan", State: "succeeded", Scan: &Scan{Profile: profile, Score: 61.9, Passed: 180, Failed: []Rule{umask}}}}
	return b
}

// onEC2 costs money, which was told beforehand.
func onEC2() Build {
	b := succeeded()
	b.ID, b.Recipe = 47, "cloud"
	b.Image = image("ami-0123456789abcdef0", 8<<30)
	b.PreviousImage, b.PreviousVersion = nil, ""
	b.Estimate = "about 8 minutes and $0.01 (m5.large in eu-west-1, list prices of 2026-11-22)"
	return b
}

// published is a local image that became an AMI.
func published() Build {
	b := succeeded()
	b.ID, b.Recipe = 48, "edge"
	b.Image.Published = "ami-0123456789abcdef0"
	return b
}

func failed() Build {
	b := succeeded()
	b.ID, b.Recipe, b.State = 42, "database", Failed
	b.Image, b.PreviousImage, b.Tests = nil, nil, nil
	b.Failure = &Failure{
		Stage: "build", Name: "postgres", Step: "build/Install", Reason: "step Install failed: exit status 100",
		Hint:   "apt-get could not find a package: check its name.",
		Output: "Reading package lists...\nBuilding dependency tree...\nE: Unable to locate package postgresql-99\n",
		Replay: "ingot build --commit 3f9a1c2 recipes/db/recipe.yaml",
		Kept:   &Kept{Until: noon.Add(24 * time.Hour), Exec: "ingot exec 42 -- COMMAND"},
	}
	return b
}

// notKept is a failure of which no instance is there any more.
func notKept() Build {
	b := failed()
	b.Failure.Kept, b.Failure.NotKept = nil, "The instance is not kept any more: build 43 of the same recipe failed after it."
	return b
}

func invalidDocument() Build {
	return Build{
		ID: 43, Repository: "golden-images", Commit: "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c", Recipe: "recipes/cache/recipe.yaml",
		RecipePath: "recipes/cache/recipe.yaml", Action: ActionCheck, State: Failed,
		Findings: []Finding{
			{File: "recipes/cache/recipe.yaml", Line: 4, Column: 1, Excerpt: "parentImge: debian-12", Message: "unknown key parentImge", Expected: "parentImage", Blocking: true},
			{File: "recipes/cache/recipe.yaml", Message: "the recipe has no tests"},
		},
		Created: noon, Started: noon, Finished: noon,
	}
}

func running() Build {
	b := succeeded()
	b.ID, b.Recipe, b.State = 44, "bastion", Running
	b.Image, b.PreviousImage, b.Tests, b.PreviousVersion = nil, nil, nil, ""
	b.Finished = time.Time{}
	b.Stages = []Stage{
		{Stage: "resolve", State: "succeeded"}, {Stage: "launch", State: "succeeded"},
		{Stage: "build", Name: "update-linux", State: "reused"}, {Stage: "build", Name: "nginx", State: "started", Step: "build/Install"},
	}
	return b
}

func view(builds ...Build) PullRequestView {
	return PullRequestView{Repository: "golden-images", Number: 7, Commit: "3f9a1c2b4d5e6f708192a3b4c5d6e7f8091a2b3c", Builds: builds, PublicURL: "https://ingot.example/"}
}

// hostileBuild puts text everywhere where a stranger can put some.
func hostileBuild(text string) Build {
	made := image(text, 1, Package{text, text, text})
	made.Published = text
	return Build{
		ID: 45, Repository: text, CodeHost: text, Ref: text, Commit: text, Title: text, Author: text,
		Recipe: text, RecipePath: text, Version: text, PreviousVersion: text + "0", Why: []string{text}, State: Failed,
		Findings:      []Finding{{File: text, Line: 1, Column: 2, Excerpt: text, Message: text, Expected: text, Blocking: true}},
		Stages:        []Stage{{Stage: "build", Name: text, State: "failed", Step: text, Text: text}},
		Tests:         []Test{{Name: text, State: "failed", Message: text, Scan: &Scan{Profile: text, Score: 1, Failed: []Rule{{text, text, text}}}}},
		PreviousTests: []Test{{Name: text, Scan: &Scan{Profile: text, Score: 2}}},
		Image:         made, PreviousImage: image(text, 2, Package{"x", text, text}, Package{text, "1", text}),
		Failure: &Failure{Stage: text, Name: text, Step: text, Reason: text, Hint: text, Output: text, Replay: text, Kept: &Kept{Exec: text}, NotKept: text},
		Started: noon, Finished: noon,
	}
}

// bigBuild is one that fails with n of everything.
func bigBuild(id int64, n int) Build {
	b := failed()
	b.ID, b.Recipe = id, fmt.Sprintf("recipe-%04d", id)
	b.Image, b.PreviousImage = image("img-1", 1), image("img-0", 1)
	for i := range n {
		name := fmt.Sprintf("package-%05d", i)
		b.Image.Packages = append(b.Image.Packages, Package{name, "2", "amd64"}, Package{"new-" + name, "1", "all"})
		b.PreviousImage.Packages = append(b.PreviousImage.Packages, Package{name, "1", "amd64"}, Package{"old-" + name, "1", "all"})
		b.Tests = append(b.Tests, Test{Name: name, State: "failed", Message: strings.Repeat("wrong ", 50), Scan: &Scan{Failed: []Rule{{name, "low", strings.Repeat("rule ", 50)}}}})
		b.Findings = append(b.Findings, Finding{File: name, Message: strings.Repeat("odd ", 50), Excerpt: "x: y"})
		b.Why = append(b.Why, name+" changed")
	}
	b.Failure.Output = strings.Repeat(strings.Repeat("`log` ", 20)+"\n", n)
	return b
}
