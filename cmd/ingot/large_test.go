package main

import (
	"fmt"
	"testing/fstest"
)

// largeRepository has 5,000 files: 10 base recipes, 490 recipes on them with pages
// and a component each, one component that all share, and YAML of other programs.
func largeRepository() fstest.MapFS {
	files := fstest.MapFS{}
	put := func(text, path string, args ...any) {
		files[fmt.Sprintf(path, args...)] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	recipe := func(name, parent string) string {
		return "apiVersion: ingot/v1\nkind: ImageRecipe\nname: " + name + "\nversion: 1.0.0\nparentImage: " + parent + "\n"
	}
	for i := range 10 {
		put(recipe(fmt.Sprint("base-", i), "debian-12")+"components: [{component: ../../shared/two.yaml}]\n", "base/%d/recipe.yaml", i)
	}
	for i := range 490 {
		put(recipe(fmt.Sprint("recipe-", i), fmt.Sprintf("base-%d/x.x.x", i%10))+
			"components: [{component: ./one.yaml}, {component: ../../shared/two.yaml}]\nfiles: [{source: site, destination: /srv}]\n",
			"recipes/%d/recipe.yaml", i)
		put(largeComponent(fmt.Sprint("one ", i)), "recipes/%d/one.yaml", i)
		for j := range 4 {
			put(fmt.Sprintf("page %d of %d\n", j, i), "recipes/%d/site/%d.html", i, j)
		}
	}
	put(largeComponent("two"), "shared/two.yaml")
	for i := len(files); i < 5000; i++ {
		put("replicas: 3\nimage: {name: x, tag: latest}\n", "charts/%d/values.yaml", i)
	}
	return files
}

func largeComponent(text string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: Run, action: ExecuteBash, inputs: {commands: ['echo " + text + "']}}\n"
}
