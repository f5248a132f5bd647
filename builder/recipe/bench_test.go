package recipe

import (
	"fmt"
	"testing"
)

// large is a repository of 5,000 files: 500 recipes with components and pages of
// their own, on 10 bases, and YAML of other programs.
func large() memory {
	tree := memory{}
	for i := range 10 {
		tree[fmt.Sprintf("base/%d/recipe.yaml", i)] = minimal(fmt.Sprintf("base-%d", i), "1.0.0", "debian-12")
	}
	for i := range 490 {
		dir := fmt.Sprintf("recipes/%d/", i)
		tree[dir+"recipe.yaml"] = minimal(fmt.Sprintf("recipe-%d", i), "1.0.0", fmt.Sprintf("base-%d/x.x.x", i%10)) +
			"components: [{component: ./one.yaml}, {component: ../../shared/two.yaml}]\nfiles: [{source: site, destination: /srv}]\n"
		tree[dir+"one.yaml"] = buildComponent(fmt.Sprint("one ", i))
		for j := range 4 {
			tree[fmt.Sprintf("%ssite/%d.html", dir, j)] = fmt.Sprint("page ", i, j)
		}
	}
	tree["shared/two.yaml"] = buildComponent("two")
	for i := len(tree); i < 5000; i++ {
		tree[fmt.Sprintf("charts/%d/values.yaml", i)] = "replicas: 3\nimage: {name: x, tag: latest}\n"
	}
	return tree
}

// BenchmarkPlanOneFile is what a push of one changed file costs, once the state
// before it is loaded: Update and Plan.
func BenchmarkPlanOneFile(b *testing.B) {
	before := large()
	old := valid(b, load(b, before))
	for name, at := range map[string]string{"page": "recipes/7/site/1.html", "component": "recipes/7/one.yaml", "unrelated": "charts/4000/values.yaml", "base": "base/3/recipe.yaml"} {
		b.Run(name, func(b *testing.B) {
			tree := mapTree{before.with(memory{at: before[at] + "\n# changed\n"}).fs()}
			if at == "base/3/recipe.yaml" {
				tree = mapTree{before.with(memory{at: minimal("base-3", "1.1.0", "debian-12")}).fs()}
			}
			for b.Loop() {
				now, err := old.Update(b.Context(), tree, []string{at})
				if err != nil {
					b.Fatal(err)
				}
				Plan(old, now, PlanOptions{})
			}
		})
	}
}

// BenchmarkLoad is what the first look at a commit costs.
func BenchmarkLoad(b *testing.B) {
	tree := openDir(b, b.TempDir(), large())
	for b.Loop() {
		if _, err := Load(b.Context(), tree, testOptions()); err != nil {
			b.Fatal(err)
		}
	}
}
