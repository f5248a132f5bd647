package dashboard

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/seed-6db18919/ingot/reporter"
)

var update = flag.Bool("update", false, "write docs/dashboard.png anew")

// browserPatience is for a machine that is busy with other things.
const browserPatience = 2 * time.Minute

// newBrowser starts Chromium and returns a tab of it.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("this test needs a browser: install the Debian package chromium (%v)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserPatience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	do(t, ctx) // starts it
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func ask[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// eventually waits for a JavaScript expression to become true in the page.
func eventually(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	wait := fmt.Sprintf("new Promise(resolve => { const look = () => (%s) ? resolve(true) : setTimeout(look, 50); look(); })", expression)
	awaited := func(p *runtime.EvaluateParams) { p.AwaitPromise = &[]bool{true}[0] }
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](wait, awaited)); err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
}

func serve(t *testing.T, c Config) *httptest.Server {
	t.Helper()
	if c.Now == nil {
		c.Now = func() time.Time { return at(41) }
	}
	server := httptest.NewServer(Handler(c))
	t.Cleanup(func() {
		server.CloseClientConnections() // streams end with their clients
		server.Close()
	})
	return server
}

func TestBrowserFollowsABuildWithoutReload(t *testing.T) {
	source := sampleSource()
	server := serve(t, Config{Source: source, Refresh: time.Hour})
	ctx := newBrowser(t)
	do(t, ctx, chromedp.Navigate(server.URL+"/builds/42"), chromedp.Evaluate[chromedp.Void]("window.unbroken = true"))
	eventually(t, ctx, `document.querySelector(".stages tr.run").textContent.includes("sshd") && document.getElementById("L2").textContent.includes("PasswordAuthentication no")`)

	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Step: "build/Harden", Text: "half a li"})
	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Step: "build/Harden", Text: "ne\nnext\n"})
	source.change(42, func(b *reporter.Build) {
		b.Stages[2].State, b.Stages[2].Finished = "succeeded", at(38)
		b.Stages = append(b.Stages, reporter.Stage{Stage: "image", State: "started", Started: at(38)})
	})
	eventually(t, ctx, `document.getElementById("L3")?.textContent.includes("half a line") && document.getElementById("L4") !== null`)
	eventually(t, ctx, `document.querySelector(".stages tr.ok:nth-child(3)") !== null && document.querySelector(".stages tr.run").textContent.includes("Image")`)
	eventually(t, ctx, `document.querySelectorAll("#log .section").length === 1`)

	source.change(42, func(b *reporter.Build) { b.State, b.Finished = reporter.Succeeded, at(40) })
	eventually(t, ctx, `document.title.startsWith("Succeeded: bastion") && document.querySelector(".live") === null && document.querySelector("h1 .badge.ok") !== null`)
	eventually(t, ctx, `window.unbroken === true`)
}

func TestBrowserReconnectsWhereItWas(t *testing.T) {
	source := sampleSource()
	server := serve(t, Config{Source: source, Refresh: time.Hour})
	ctx := newBrowser(t)
	do(t, ctx, chromedp.Navigate(server.URL+"/builds/42"))
	for round := range 2 {
		source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Step: "build/Harden", Text: fmt.Sprintf("round %d\nhalf ", round)})
		eventually(t, ctx, fmt.Sprintf(`document.getElementById("log").textContent.includes("round %d")`, round))
		server.CloseClientConnections()
	}
	source.print(42, reporter.LogPiece{Stage: "build", Name: "sshd", Step: "build/Harden", Text: "done\n"})
	eventually(t, ctx, `[...document.querySelectorAll("#log .line span")].map(e => e.textContent).slice(2).join() === "round 0,half round 1,half done"`)
	eventually(t, ctx, `document.querySelectorAll("#log .section").length === 1`)
}

func TestBrowserRunsNothingHostile(t *testing.T) {
	source := newMemorySource()
	const evil = `"><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">';window.hacked=1//{{.}}</textarea></title></style>`
	b := hostileBuild(evil)
	source.builds[b.ID] = b
	source.images = []reporter.Image{*b.Image}
	source.repositories = []reporter.Repository{{Name: evil, URL: "javascript:window.hacked=1", CodeHost: "javascript:x/" + evil, Branch: evil, Head: evil, HeadTitle: evil, Problem: evil, Builds: []reporter.Build{b}}}
	source.print(b.ID, reporter.LogPiece{Stage: evil, Name: evil, Step: evil, Text: evil + "\n"})
	server := serve(t, Config{Source: source})
	ctx := newBrowser(t)
	for _, path := range []string{"/", "/builds", "/builds?recipe=" + strings.Repeat("%3Cscript%3E", 3), "/images", "/images/img-1", "/builds/1"} {
		do(t, ctx, chromedp.Navigate(server.URL+path))
		eventually(t, ctx, `document.querySelector("footer") !== null && window.hacked === undefined && document.querySelectorAll("img, main script, [onerror], a[href^='javascript']").length === 0`)
	}
	source.print(b.ID, reporter.LogPiece{Stage: evil, Text: evil + "live\n"})
	source.change(b.ID, func(b *reporter.Build) { b.Title = "live " + evil })
	eventually(t, ctx, `document.getElementById("log").textContent.includes("live") && document.querySelector(".commit").textContent.includes("live")`)
	eventually(t, ctx, `window.hacked === undefined && document.querySelectorAll("img, main script, [onerror]").length === 0`)
}

// hostileBuild is a running build that says the same everywhere.
func hostileBuild(text string) reporter.Build {
	return reporter.Build{
		ID: 1, Repository: text, CodeHost: text, Ref: "refs/heads/" + text, Commit: text, Title: text, Author: text, Trigger: reporter.Trigger(text),
		Recipe: text, RecipePath: text, Version: text, PreviousVersion: text + "0", Why: []string{text}, State: reporter.Running, Action: reporter.Action(text),
		Findings:      []reporter.Finding{{File: text, Line: 1, Excerpt: text, Message: text, Expected: text}},
		Stages:        []reporter.Stage{{Stage: text, Name: text, State: text, Step: text, Text: text, Started: noon}},
		Tests:         []reporter.Test{{Name: text, State: text, Message: text, Scan: &reporter.Scan{Profile: text, Failed: []reporter.Rule{{ID: text, Severity: text, Title: text}}}}},
		PreviousTests: []reporter.Test{{Name: text, Scan: &reporter.Scan{Profile: text}}},
		Image:         &reporter.Image{ID: "img-1", Name: text, Published: text, Repository: text, Recipe: text, Version: text, Driver: text, Ref: text, OS: text, Packages: []reporter.Package{{Name: text, Version: text, Architecture: text}}},
		PreviousImage: &reporter.Image{Packages: []reporter.Package{{Name: "x" + text, Version: text}}},
		Failure:       &reporter.Failure{Stage: text, Name: text, Step: text, Reason: text, Hint: text, Output: text, Replay: text, Kept: &reporter.Kept{Exec: text}, NotKept: text},
		Started:       noon, Created: noon,
	}
}

func TestBrowserWithoutJavaScript(t *testing.T) {
	server := serve(t, Config{Source: sampleSource()})
	ctx := newBrowser(t)
	withoutScripts := func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	}
	do(t, ctx, withoutScripts, chromedp.Navigate(server.URL+"/builds/42"))
	text := ask(t, ctx, chromedp.Text(chromedp.CSS("main")))
	refresh := ask(t, ctx, chromedp.AttributeValue(chromedp.CSS(`meta[http-equiv="refresh"]`), "content", chromedp.NodeReady)).Value
	for _, want := range []string{"bastion", "Running", "sshd", "Harden", "PasswordAuthentication no", "recipes/bastion/recipe.yaml added"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if refresh != "5" {
		t.Errorf("refresh %q, want every 5 s", refresh)
	}
}

func TestBrowserComplainsAboutNothing(t *testing.T) {
	server := serve(t, Config{Source: sampleSource(), Metrics: http.NotFoundHandler()})
	ctx := newBrowser(t)
	do(t, ctx, chromedp.EmulateViewport(390, 844))
	problems := listenForProblems(t, ctx)
	for _, path := range []string{"/", "/builds", "/builds?state=failed", "/builds/39", "/builds/40", "/builds/41", "/builds/42", "/images", "/images/img-3f9a1c2b4d5e"} {
		do(t, ctx, chromedp.Navigate(server.URL+path))
		eventually(t, ctx, `document.documentElement.scrollWidth <= 390`)
	}
	for _, problem := range problems() {
		t.Error(problem)
	}
}

func TestScreenshot(t *testing.T) {
	const path = "../../docs/dashboard.png"
	server := serve(t, Config{Source: sampleSource(), Version: "1.0.0"})
	ctx := newBrowser(t)
	do(t, ctx, chromedp.EmulateViewport(1200, 900), chromedp.Navigate(server.URL+"/builds/41"))
	shot := ask(t, ctx, chromedp.FullScreenshot(100))
	picture, err := png.DecodeConfig(bytes.NewReader(shot))
	if err != nil || picture.Width != 1200 || len(shot) > 200_000 {
		t.Errorf("%d bytes, %d wide, want at most 200,000 and 1200: %v", len(shot), picture.Width, err)
	}
	if *update {
		if err := os.WriteFile(path, shot, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%v: make it with go test ./reporter/dashboard -run Screenshot -update", err)
	}
}
