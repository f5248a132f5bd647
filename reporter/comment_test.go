package reporter

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func TestCommentGolden(t *testing.T) {
	hostile := hostileBuild("@octocat `x` ``` </details> <script>alert(1)</script> | a | #12 acme/x#3 GH-4 https://evil.example www.evil.example ![i](http://e/x.png) :tada:\n# head\n\u202egnp.exe \x1b[31mred\x1b[0m")
	tests := map[string]PullRequestView{
		"comment-estimate.md": view(onEC2(), published(), running()),
		"comment-not-kept.md": view(notKept()),
		"comment-mixed.md":    view(succeeded(), failed(), invalidDocument(), running()),
		"comment-scan.md":     view(scanned()),
		"comment-empty.md":    view(),
		"comment-hostile.md":  view(hostile),
		"comment-big.md":      view(bigBuild(1, 12)),
	}
	for name, v := range tests {
		t.Run(name, func(t *testing.T) {
			got := Comment(v, noon.Add(30e9))
			if err := checkComment(got, v.PublicURL); err != nil {
				t.Error(err)
			}
			golden(t, name, got)
		})
	}
}

func TestCommentStaysWithinItsLimit(t *testing.T) {
	for _, size := range []struct{ recipes, things int }{{1, 2000}, {10, 100}, {60, 60}, {300, 10}, {1000, 1}} {
		var builds []Build
		for i := range size.recipes {
			builds = append(builds, bigBuild(int64(i+1), size.things))
		}
		v := view(builds...)
		got := Comment(v, noon)
		if err := checkComment(got, v.PublicURL); err != nil {
			t.Errorf("%d recipes with %d of everything: %v", size.recipes, size.things, err)
		}
		if len(got) < MaxComment/4 {
			t.Errorf("%d recipes with %d of everything: only %d bytes are used", size.recipes, size.things, len(got))
		}
	}
}

func TestCommentTellsTheNewestBuildOfARecipe(t *testing.T) {
	old, again := failed(), succeeded()
	again.Recipe, again.ID = old.Recipe, old.ID+1
	got := Comment(view(again, old), noon)
	if !strings.Contains(got, "### 1 image ready\n") || strings.Contains(got, "postgres") {
		t.Errorf("the older build is told:\n%s", got)
	}
}

func TestCommentWithoutPublicAddressHasNoLinks(t *testing.T) {
	v := view(succeeded())
	v.PublicURL = ""
	if got := Comment(v, noon); strings.Contains(got, "[details]") {
		t.Errorf("a link to nowhere:\n%s", got)
	}
}

func TestMarker(t *testing.T) {
	for repository, want := range map[string]string{
		"golden-images": "<!-- ingot:golden-images -->",
		"a/b c":         "<!-- ingot:a%2Fb%20c -->",
		"x --> <b>":     "<!-- ingot:x%20-%2D%3E%20%3Cb%3E -->",
	} {
		if got := Marker(repository); got != want {
			t.Errorf("Marker(%q) = %q, want %q", repository, got, want)
		}
	}
}

func FuzzCommentIsHarmless(f *testing.F) {
	for _, seed := range []string{
		"@octocat", "`@octocat", "``` \n@octocat\n```", "\n\n@x", "a|b|c", `\|`, `\\|@x`, "`|`", "<img src=x onerror=alert(1)>", "</code>@x", "</details></details>",
		"#1", "a/b#1", "GH-1", "http://x", "ftp://x/y", "www.x.y", "x@y.z", "![](http://x)", "[a](http://x)", "[a]: http://x", "~~~", "~~~~\n@x", "    code", "\t@x",
		"- @x", "# @x", "> @x", "---", "===", "<!--", "-->", "<!-- ingot:golden-images -->", ":tada:", "&#64;x", "&lt;", "\\", "\\`", "a\\", "\r@x", "\u2028@x", "\u202e@x", "\u200b@x",
		"@\u200bx", "\x00", "\xff\xfe", "\x1b]8;;http://x\x07link\x1b]8;;\x07", "\u009b31m", strings.Repeat("`", 300), strings.Repeat("x", 70000), strings.Repeat("@a ", 3000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := view(hostileBuild(text))
		v.Repository, v.Commit = text, text
		if err := checkComment(Comment(v, noon), v.PublicURL); err != nil {
			t.Error(err)
		}
	})
}
