package recipe

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// fleet is a repository with a base, two recipes on it and one by itself.
func fleet() memory {
	return memory{
		"base/recipe.yaml":   minimal("base", "1.2.0", "debian-12") + "components: [{component: ./base.yaml}]\n",
		"base/base.yaml":     buildComponent("base"),
		"web/recipe.yaml":    minimal("web", "1.3.0", "base/1.x.x") + "components: [{component: ../shared/nginx.yaml, parameters: {Port: \"80\"}}]\nfiles: [{source: site, destination: /srv}]\ntests: [{component: http.yaml}]\n",
		"web/http.yaml":      testComponent("curl"),
		"web/site/index":     "hello",
		"app/recipe.yaml":    minimal("app", "0.1.0", "web/1.3.x"),
		"proxy/recipe.yaml":  minimal("proxy", "2.0.0", "debian-13") + "components: [{component: ../shared/nginx.yaml, parameters: {Port: \"81\"}}]\ndistribution: [{region: eu-west-1}]\n",
		"shared/nginx.yaml":  withParameters(buildComponent("nginx")),
		"README.md":          "read me",
		"elsewhere/any.yaml": "a: b",
	}
}

func edit(at, from, to string) func(memory) memory {
	return func(tree memory) memory {
		if !strings.Contains(tree[at], from) {
			panic(fmt.Sprintf("%s has no %q", at, from))
		}
		return memory{at: strings.Replace(tree[at], from, to, 1)}
	}
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		change  func(memory) memory
		options PlanOptions
		want    []string
	}{
		"nothing":        {change: func(memory) memory { return nil }},
		"unrelated file": {change: edit("README.md", "read", "write")},
		"unrelated YAML": {change: edit("elsewhere/any.yaml", "b", "c")},
		"shared component": {change: edit("shared/nginx.yaml", "nginx", "httpd"), want: []string{
			"proxy 2.0.0: build (content changed): shared/nginx.yaml changed",
			"web 1.3.0: build (content changed): shared/nginx.yaml changed",
			"app 0.1.0: build (content changed): parent recipe web changes",
		}},
		"base raised": {change: edit("base/recipe.yaml", "1.2.0", "1.3.0"), want: []string{
			"base 1.2.0 → 1.3.0: build (version raised): version 1.2.0 → 1.3.0",
			"web 1.3.0: build (content changed): parent recipe base changes",
			"app 0.1.0: build (content changed): parent recipe web changes",
		}},
		"base raised beyond the pattern": {change: edit("base/recipe.yaml", "1.2.0", "2.0.0"), want: []string{
			"base 1.2.0 → 2.0.0: build (version raised): version 1.2.0 → 2.0.0",
		}},
		"file": {change: edit("web/site/index", "hello", "bye"), want: []string{
			"web 1.3.0: build (content changed): files web/site/index changed",
			"app 0.1.0: build (content changed): parent recipe web changes",
		}},
		"file added": {change: func(memory) memory { return memory{"web/site/new/file": "x"} }, want: []string{
			"web 1.3.0: build (content changed): files web/site/new/file added",
			"app 0.1.0: build (content changed): parent recipe web changes",
		}},
		"parameter": {change: edit("proxy/recipe.yaml", "81", "82"), want: []string{
			"proxy 2.0.0: build (content changed): parameters of shared/nginx.yaml changed",
		}},
		"parent image": {change: edit("proxy/recipe.yaml", "debian-13", "debian-12"), want: []string{
			"proxy 2.0.0: build (content changed): parent image debian-13 → debian-12",
		}},
		"only a test": {change: edit("web/http.yaml", "curl", "wget"), want: []string{
			"web 1.3.0: test (tests changed): web/http.yaml changed",
		}},
		"only where it is published": {change: edit("proxy/recipe.yaml", "name: proxy", "name: proxy\npublish: {driver: ec2, region: eu-west-1}"), want: []string{
			"proxy 2.0.0: test (tests changed): publishing nowhere → to ec2 in eu-west-1",
		}},
		"only the disks of tests": {change: edit("proxy/recipe.yaml", "name: proxy", "name: proxy\ninfrastructure: {testDisks: [1]}"), want: []string{
			"proxy 2.0.0: test (tests changed): disks of the test instance changed",
		}},
		"only the distribution": {change: edit("proxy/recipe.yaml", "eu-west-1", "eu-west-2"), want: []string{
			"proxy 2.0.0: distribute (distribution changed): distribution changed",
		}},
		"only the description": {change: edit("proxy/recipe.yaml", "name: proxy", "name: proxy\ndescription: x"), want: []string{
			"proxy 2.0.0: check (settings changed): proxy/recipe.yaml changed",
		}},
		"moved": {change: func(tree memory) memory {
			return memory{"proxy/recipe.yaml": "", "proxy/proxy.yaml": tree["proxy/recipe.yaml"]}
		}, want: []string{"proxy 2.0.0: check (settings changed): proxy/recipe.yaml is now proxy/proxy.yaml"}},
		"version lowered": {change: edit("proxy/recipe.yaml", "2.0.0", "1.9.0"), want: []string{
			"proxy 2.0.0 → 1.9.0: check (version lowered): version 2.0.0 → 1.9.0; the version 1.9.0 is below 2.0.0",
		}},
		"a lowered base rebuilds nothing": {change: edit("base/recipe.yaml", "1.2.0", "1.1.0"), want: []string{
			"base 1.2.0 → 1.1.0: check (version lowered): version 1.2.0 → 1.1.0; the version 1.1.0 is below 1.2.0",
		}},
		"added": {change: func(memory) memory { return memory{"new.yaml": minimal("new", "1.0.0", "proxy/x.x.x")} }, want: []string{
			"new 1.0.0: build (added): new recipe",
		}},
		"removed": {change: func(memory) memory { return memory{"proxy/recipe.yaml": ""} }, want: []string{
			"proxy 2.0.0: none (removed): proxy/recipe.yaml was removed",
		}},
		"renamed": {change: edit("proxy/recipe.yaml", "name: proxy", "name: relay"), want: []string{
			"proxy 2.0.0: none (removed): proxy/recipe.yaml no longer defines it",
			"relay 2.0.0: build (added): new recipe",
		}},
		"invalid": {change: edit("proxy/recipe.yaml", "components", "componets"), want: []string{
			"proxy 2.0.0: check (invalid): 1 problem in proxy/recipe.yaml",
		}},
		"unreadable": {change: func(memory) memory { return memory{"proxy/recipe.yaml": "\x00"} }, want: []string{
			"proxy 2.0.0: check (invalid): 1 problem in proxy/recipe.yaml",
		}},
		"component removed": {change: func(memory) memory { return memory{"web/http.yaml": ""} }, want: []string{
			"web 1.3.0: check (invalid): 1 problem in web/recipe.yaml",
		}},
		"changed under a released version": {
			change: edit("proxy/recipe.yaml", "81", "82"), options: PlanOptions{Released: released("2.0.0")},
			want: []string{"proxy 2.0.0: build (content changed): parameters of shared/nginx.yaml changed; the recipe changed, but its version 2.0.0 is released already"},
		},
		"behind the released version": {
			change: edit("proxy/recipe.yaml", "81", "82"), options: PlanOptions{Released: released("2.1.0")},
			want: []string{"proxy 2.0.0: check (version lowered): parameters of shared/nginx.yaml changed; the version 2.0.0 is below 2.1.0"},
		},
		"all": {change: func(memory) memory { return nil }, options: PlanOptions{All: true}, want: []string{
			"base 1.2.0: none (untouched)", "proxy 2.0.0: none (untouched)", "web 1.3.0: none (untouched)", "app 0.1.0: none (untouched)",
		}},
	}
	old := valid(t, load(t, fleet()))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			next := fleet().with(test.change(fleet()))
			now, err := old.Update(t.Context(), mapTree{next.fs()}, changedPaths(fleet(), next))
			if err != nil {
				t.Fatal(err)
			}
			plan := Plan(old, now, test.options)
			var got []string
			for _, d := range plan {
				got = append(got, d.String())
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("plan\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
			if again := Plan(load(t, fleet()), load(t, next), test.options); fmt.Sprint(again) != fmt.Sprint(plan) {
				t.Errorf("from loaded sets another plan: %v", again)
			}
		})
	}
}

// released knows one version of the recipe proxy.
func released(version string) func(string) (Version, bool) {
	v, err := ParseVersion(version)
	return func(name string) (Version, bool) { return v, err == nil && name == "proxy" }
}

func TestPlanOfANewRepository(t *testing.T) {
	plan := Plan(nil, valid(t, load(t, fleet())), PlanOptions{})
	var got []string
	for _, d := range plan {
		got = append(got, d.Name+" after "+d.After)
	}
	if want := []string{"base after ", "proxy after ", "web after base", "app after web"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnInvalidDocumentIsReportedOnce(t *testing.T) {
	broken := fleet().with(memory{"proxy/recipe.yaml": "apiVersion: ingot/v1\n"})
	old := load(t, broken)
	if plan := Plan(old, load(t, broken.with(memory{"README.md": "x"})), PlanOptions{}); len(plan) != 0 {
		t.Errorf("an unchanged invalid document: %v", plan)
	}
	if plan := Plan(old, load(t, broken), PlanOptions{AllInvalid: true}); len(plan) != 1 {
		t.Errorf("with AllInvalid: %v", plan)
	}
	changed := broken.with(memory{"proxy/recipe.yaml": "apiVersion: ingot/v1\n# still\n"})
	if plan := Plan(old, load(t, changed), PlanOptions{}); len(plan) != 1 || plan[0].Name != "" || plan[0].Path != "proxy/recipe.yaml" {
		t.Errorf("a changed invalid document: %v", plan)
	}
	repaired := Plan(old, load(t, fleet()), PlanOptions{})
	if len(repaired) != 1 || repaired[0].Outcome != Added {
		t.Errorf("a repaired document: %v", repaired)
	}
}

func TestFindingsStandAtTheVersion(t *testing.T) {
	old, now := load(t, fleet()), load(t, fleet().with(edit("proxy/recipe.yaml", "2.0.0", "1.9.0")(fleet())))
	plan := Plan(old, now, PlanOptions{})
	if len(plan) != 1 || len(plan[0].Findings) != 1 || !plan[0].Findings[0].Blocking {
		t.Fatalf("plan: %+v", plan)
	}
	want := "proxy/recipe.yaml:4:10: the version 1.9.0 is below 2.0.0; raise it, for example to 2.0.1\n    4 | version: 1.9.0\n      |          ^"
	if got := plan[0].Findings[0].String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
