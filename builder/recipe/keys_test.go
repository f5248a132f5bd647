package recipe

import (
	"io/fs"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
)

// keyed is a recipe that has something in every place that keys look at.
func keyed(t *testing.T) *Recipe {
	t.Helper()
	document := func(text string) *component.Document {
		d, problems := component.Parse("x.yaml", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return d
	}
	build, test := document(buildComponent("true")), document(testComponent("true"))
	both := document(buildComponent("true") + "  - name: test\n    steps:\n      - {name: Run, action: ExecuteBash, inputs: {commands: ['true']}}\n")
	return &Recipe{
		Name: "web", Version: Version{1, 0, 0}, Platform: "Linux", WorkingDir: "/tmp",
		Infrastructure: Infrastructure{Driver: "local", Isolation: Container, TimeoutMinutes: 60},
		Files: []Files{{Source: "site", Destination: "/srv", Entries: []File{
			{Path: "site/a", Target: "/srv/a", Mode: 0o644, Digest: "da"},
			{Path: "site/b", Target: "/srv/b", Mode: fs.ModeSymlink | 0o777, Link: "a"},
		}}},
		Components: []Use{
			{Name: "one", Path: "one.yaml", Digest: "d1", Document: build, Parameters: map[string]string{"A": "1", "B": "2"}},
			{Name: "two", Path: "two.yaml", Digest: "d2", Document: both},
			{Name: "check", Path: "check.yaml", Digest: "d3", Document: test},
		},
		BlockDevices: []BlockDevice{
			{Name: "/dev/sdf", Volume: &Volume{GiB: 9, Type: "gp3", IOPS: 3, Throughput: 4, Encrypted: true, KMSKey: "alias/a"}},
			{Name: "/dev/sdh", Virtual: "ephemeral0"}, {Name: "/dev/sdi", Removed: true},
		},
		Tests:        []Use{{Name: "http", Path: "http.yaml", Digest: "d4", Document: test}, {Name: "boot", Digest: "d5", Document: test}},
		Exports:      []Export{{"vmdk"}, {"ova"}},
		Distribution: []Distribution{{Region: "eu-west-1", Name: "a", LaunchPermission: LaunchPermission{UserIDs: []string{"1", "2"}}}, {Region: "eu-west-2", Name: "b"}},
		AMITags:      map[string]string{"a": "b"},
	}
}

func TestLayersAreFilesThenBuildComponents(t *testing.T) {
	r := keyed(t)
	if got := len(r.Keys("base", "1").Layers); got != 3 {
		t.Errorf("%d layers, want one for the files and two for components", got)
	}
	r.Files = nil
	if got := len(r.Keys("base", "1").Layers); got != 2 {
		t.Errorf("%d layers without files, want 2", got)
	}
	var names []string
	for _, u := range r.TestUses() {
		names = append(names, u.Name)
	}
	if !slices.Equal(names, []string{"two", "check", "http", "boot"}) {
		t.Errorf("tests run in the order %v", names)
	}
}

func TestImageTags(t *testing.T) {
	r := &Recipe{Version: Version{1, 2, 3}, AMITags: map[string]string{
		"team": "web", "release": "web {{ version }}", "made": "{{buildDate}}", "as elsewhere": "at {{imagebuilder:buildDate}}", "other": "{{ x }}",
	}}
	made := time.Date(2026, 8, 1, 6, 5, 12, 541e6, time.FixedZone("", 2*3600))
	always := map[string]string{"team": "web", "release": "web 1.2.3", "other": "{{ x }}"}
	if got := r.ImageTags(time.Time{}); !maps.Equal(got, always) {
		t.Errorf("of an image made before: %v", got)
	}
	always["made"], always["as elsewhere"] = "2026-08-01T04-05-12.541Z", "at 2026-08-01T04-05-12.541Z"
	if got := r.ImageTags(made); !maps.Equal(got, always) {
		t.Errorf("of a new image: %v", got)
	}
}

func TestWhatChangesWhichKey(t *testing.T) {
	fromFirst := []string{"layer 1", "layer 2", "build", "test", "release"}
	tests := map[string]struct {
		change func(r *Recipe)
		want   []string // the keys that differ
	}{
		"nothing":              {func(r *Recipe) {}, nil},
		"name":                 {func(r *Recipe) { r.Name = "other" }, nil},
		"version":              {func(r *Recipe) { r.Version.Patch++ }, nil},
		"description":          {func(r *Recipe) { r.Description = "x" }, nil},
		"path":                 {func(r *Recipe) { r.Path = "x" }, nil},
		"schedule":             {func(r *Recipe) { r.Schedule = &Schedule{} }, nil},
		"timeout":              {func(r *Recipe) { r.Infrastructure.TimeoutMinutes++ }, nil},
		"keep on failure":      {func(r *Recipe) { r.Infrastructure.KeepOnFailure = true }, nil},
		"component renamed":    {func(r *Recipe) { r.Components[0].Name, r.Components[0].Path = "x", "y" }, nil},
		"file moved":           {func(r *Recipe) { r.Files[0].Source, r.Files[0].Entries[0].Path = "x", "x/a" }, nil},
		"platform":             {func(r *Recipe) { r.Platform = "Windows" }, allKeys},
		"disk":                 {func(r *Recipe) { r.DiskGiB = 9 }, allKeys},
		"volume":               {func(r *Recipe) { r.BlockDevices[0].Volume.GiB++ }, allKeys},
		"volume's type":        {func(r *Recipe) { r.BlockDevices[0].Volume.Type = "gp2" }, allKeys},
		"volume's speed":       {func(r *Recipe) { r.BlockDevices[0].Volume.IOPS, r.BlockDevices[0].Volume.Throughput = 4, 3 }, allKeys},
		"volume's encryption":  {func(r *Recipe) { r.BlockDevices[0].Volume.Encrypted = false }, allKeys},
		"volume's key":         {func(r *Recipe) { r.BlockDevices[0].Volume.KMSKey = "" }, allKeys},
		"volume's snapshot":    {func(r *Recipe) { r.BlockDevices[0].Volume.Snapshot = "snap-1" }, allKeys},
		"volume that outlives": {func(r *Recipe) { r.BlockDevices[0].Volume.Outlives = true }, allKeys},
		"device":               {func(r *Recipe) { r.BlockDevices[0].Name = "/dev/sdg" }, allKeys},
		"instance storage":     {func(r *Recipe) { r.BlockDevices[1].Virtual = "ephemeral1" }, allKeys},
		"device left out":      {func(r *Recipe) { r.BlockDevices[2].Removed = false }, allKeys},
		"user data":            {func(r *Recipe) { r.UserData = "#!/bin/sh" }, allKeys},
		"no volumes":           {func(r *Recipe) { r.BlockDevices = nil }, allKeys},
		"working directory":    {func(r *Recipe) { r.WorkingDir = "/x" }, allKeys},
		"driver":               {func(r *Recipe) { r.Infrastructure.Driver = "ec2" }, allKeys},
		"isolation":            {func(r *Recipe) { r.Infrastructure.Isolation = VM }, allKeys},
		"file content":         {func(r *Recipe) { r.Files[0].Entries[0].Digest = "x" }, allKeys},
		"file mode":            {func(r *Recipe) { r.Files[0].Entries[0].Mode = 0o755 }, allKeys},
		"file target":          {func(r *Recipe) { r.Files[0].Entries[0].Target = "/srv/c" }, allKeys},
		"link":                 {func(r *Recipe) { r.Files[0].Entries[1].Link = "c" }, allKeys},
		"owner":                {func(r *Recipe) { r.Files[0].Owner = "x" }, allKeys},
		"group for owner":      {func(r *Recipe) { r.Files[0].Group = "x" }, allKeys},
		"file removed":         {func(r *Recipe) { r.Files[0].Entries = r.Files[0].Entries[:1] }, allKeys},
		"first component":      {func(r *Recipe) { r.Components[0].Digest = "x" }, fromFirst},
		"parameter":            {func(r *Recipe) { r.Components[0].Parameters["A"] = "x" }, fromFirst},
		"parameter removed":    {func(r *Recipe) { delete(r.Components[0].Parameters, "B") }, fromFirst},
		"parameter boundary":   {func(r *Recipe) { r.Components[0].Parameters = map[string]string{"A": "1B2"} }, fromFirst},
		"parameter name":       {func(r *Recipe) { r.Components[0].Parameters = map[string]string{"A": "1", "B2": ""} }, fromFirst},
		"last component":       {func(r *Recipe) { r.Components[1].Digest = "x" }, []string{"layer 2", "build", "test", "release"}},
		"components swapped":   {func(r *Recipe) { r.Components[0], r.Components[1] = r.Components[1], r.Components[0] }, fromFirst},
		"component removed":    {func(r *Recipe) { r.Components = r.Components[1:] }, fromFirst},
		"test component":       {func(r *Recipe) { r.Components[2].Digest = "x" }, []string{"test"}},
		"test component moved": {func(r *Recipe) { r.Components[1], r.Components[2] = r.Components[2], r.Components[1] }, []string{"test"}},
		"test changed":         {func(r *Recipe) { r.Tests[0].Digest = "x" }, []string{"test"}},
		"test parameter":       {func(r *Recipe) { r.Tests[0].Parameters = map[string]string{"A": ""} }, []string{"test"}},
		"tests swapped":        {func(r *Recipe) { slices.Reverse(r.Tests) }, []string{"test"}},
		"test removed":         {func(r *Recipe) { r.Tests = r.Tests[:1] }, []string{"test"}},
		"test disks":           {func(r *Recipe) { r.Infrastructure.TestDisks = []int{1} }, []string{"test"}},
		"published":            {func(r *Recipe) { r.Publish = &Publish{Driver: "ec2"} }, []string{"test", "release"}},
		"published elsewhere":  {func(r *Recipe) { r.Publish = &Publish{Driver: "ec2", Region: "eu-west-1"} }, []string{"test", "release"}},
		"published by import":  {func(r *Recipe) { r.Publish = &Publish{Driver: "ec2", Via: ViaImportImage} }, []string{"test", "release"}},
		"export":               {func(r *Recipe) { r.Exports[0].Format = "raw" }, []string{"release"}},
		"export for a place":   {func(r *Recipe) { r.Exports, r.Distribution = append(r.Exports, Export{"raw"}), r.Distribution[:1] }, []string{"release"}},
		"region":               {func(r *Recipe) { r.Distribution[0].Region = "x" }, []string{"release"}},
		"image name":           {func(r *Recipe) { r.Distribution[0].Name = "x" }, []string{"release"}},
		"account moved":        {func(r *Recipe) { moveAccount(r) }, []string{"release"}},
		"tag":                  {func(r *Recipe) { r.AMITags["a"] = "c" }, []string{"release"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := keyed(t)
			before := named(r)
			test.change(r)
			after := named(r)
			var differ []string
			for _, key := range allKeys {
				if before[key] != after[key] {
					differ = append(differ, key)
				}
			}
			if !slices.Equal(differ, test.want) {
				t.Errorf("keys that differ: %v, want %v", differ, test.want)
			}
		})
	}
}

func moveAccount(r *Recipe) {
	d := r.Distribution
	d[0].LaunchPermission.UserIDs, d[1].LaunchPermission.UserIDs = []string{"1"}, []string{"2"}
}

// allKeys names the keys of keyed, from the bottom up.
var allKeys = []string{"layer 0", "layer 1", "layer 2", "build", "test", "release"}

func named(r *Recipe) map[string]string {
	keys := r.Keys("base", "1")
	names := map[string]string{"build": keys.Build, "test": keys.Test, "release": r.ReleaseKey(keys.Build)}
	for i, key := range keys.Layers {
		names[allKeys[i]] = key
	}
	return names
}

func TestKeysStandOnTheParentAndTheEngine(t *testing.T) {
	r := keyed(t)
	seen := map[string]string{}
	for name, keys := range map[string]Keys{"one": r.Keys("base", "1"), "base": r.Keys("other", "1"), "engine": r.Keys("base", "2"), "boundary": r.Keys("base1", ""), "boundary 2": r.Keys("", "base1")} {
		for _, key := range append(keys.Layers, keys.Build, keys.Test) {
			if other, ok := seen[key]; ok {
				t.Errorf("%s and %s share the key %s", name, other, key)
			}
			seen[key] = name
		}
	}
}

func TestARecipeWithoutComponentsHasABuildKey(t *testing.T) {
	a, b := (&Recipe{}).Keys("base", "1"), (&Recipe{}).Keys("base2", "1")
	if a.Layers != nil || a.Build == "" || a.Build == b.Build || a.Test == a.Build {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestHashTellsListsApart(t *testing.T) {
	seen := map[string][]string{}
	for _, texts := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"\x01a"}, {"\x01", "a"}} {
		sum := hash("t", texts...)
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have the same hash", texts, other)
		}
		seen[sum] = texts
	}
	if hash("a", "b") == hash("b", "a") || hash("a") == hash("", "a") {
		t.Error("tags and texts are confused")
	}
}
