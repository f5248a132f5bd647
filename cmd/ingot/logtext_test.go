package main

import (
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/reporter"
)

func TestLogTextHasAHeadingPerPlace(t *testing.T) {
	var out strings.Builder
	text := &logText{out: &out}
	err := text.printAll([]reporter.LogPiece{
		{Stage: "build", Name: "nginx", Step: "build/Install", Text: "one\n"},
		{Stage: "build", Name: "nginx", Step: "build/Install", Text: "two\x1b[2J"},
		{Stage: "image", Text: "img-1\n"},
		{Stage: "test", Name: "a\nb", Text: "three\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "== build nginx build/Install\none\ntwo\n== image\nimg-1\n== test a b\nthree\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
}
