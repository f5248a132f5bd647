package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/relay"
)

// TestManyBuildsAskLittle has 500 builds under way, each with a component that runs
// and says nothing, at the pace of real use. What the daemon asks of AWS meanwhile
// does not grow with their number.
func TestManyBuildsAskLittle(t *testing.T) {
	const builds, window = 500, 30 * time.Second
	agents := &quietAgents{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}, over: make(chan struct{})}
	t.Cleanup(agents.client.CloseIdleConnections)
	c := ec2test.Start(t, ec2test.Options{Machine: ec2test.Scripted(agents.run)})
	cfg := configOf(t, c, realAgent(t))
	cfg.pace = pace{online: 10 * time.Minute}
	cfg.Log = nil
	d := newDriver(t, cfg)

	var all, busy sync.WaitGroup
	busy.Add(builds)
	for n := range builds {
		all.Go(func() {
			begun := sync.OnceFunc(busy.Done)
			defer begun()
			inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: fmt.Sprint(n), Base: builder.Base{Ref: ec2test.Parents[0].ID}})
			if err != nil {
				t.Errorf("build %d: %v", n, err)
				return
			}
			defer func() {
				if err := inst.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("build %d: %v", n, err)
				}
			}()
			result, err := inst.Run(t.Context(), jobOf("quiet", "true"), func(e component.Event) {
				if e.Kind == component.Output {
					begun()
				}
			})
			if err != nil || result.Status != component.Success {
				t.Errorf("build %d: %+v, %v", n, result.Status, err)
			}
		})
	}
	busy.Wait()
	from := time.Now()
	timer := time.NewTimer(window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
	counts := c.Calls().Between(from, time.Now()).Counts()
	close(agents.over)
	all.Wait()

	// Instances write objects, too: those calls are not the daemon's.
	delete(counts, "s3:PostBucket")
	delete(counts, "s3:PostObject")
	total := 0
	for _, n := range counts {
		total += n
	}
	perSecond := float64(total) / window.Seconds()
	t.Logf("%d builds under way: %.1f calls per second: %v", builds, perSecond, counts)
	if total == 0 || perSecond > 5 {
		t.Errorf("%.1f calls per second, want more than none and at most 5", perSecond)
	}
}

// quietAgents stand for the agents of many instances: each says once that it has
// begun, gives signs of life, and is done when the test says so.
type quietAgents struct {
	client *http.Client
	over   chan struct{}
}

var requestAddress = regexp.MustCompile(`relay .*--url '([^']+)'`)

func (a *quietAgents) run(ctx context.Context, commands []string) (int, string, string) {
	if err := a.work(ctx, commands); err != nil {
		return 1, "", err.Error()
	}
	return 0, "", ""
}

func (a *quietAgents) work(ctx context.Context, commands []string) error {
	r, err := a.request(commands)
	if err != nil {
		return err
	}
	begun, err := json.Marshal(relay.Note{Event: &component.Event{Kind: component.Output, Text: "begun\n"}})
	if err != nil {
		return err
	}
	if err := a.tell(ctx, r.Inbox, relay.PieceName(0), append(begun, '\n')); err != nil {
		return err
	}
	beat := time.NewTicker(30 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			if err := a.tell(ctx, r.Inbox, relay.BeatName, nil); err != nil {
				return err
			}
		case <-a.over:
			done, err := json.Marshal(relay.Note{Done: &relay.Outcome{Result: &component.Result{Status: component.Success}}})
			if err != nil {
				return err
			}
			return a.tell(ctx, r.Inbox, relay.PieceName(int64(len(begun)+1)), append(done, '\n'))
		}
	}
}

// request is what the commands have the agent fetch.
func (a *quietAgents) request(commands []string) (r relay.Request, err error) {
	found := requestAddress.FindStringSubmatch(strings.Join(commands, "\n"))
	if found == nil {
		return r, fmt.Errorf("no request in %q", commands)
	}
	response, err := a.client.Get(found[1])
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// tell sends a form as the agent does.
func (a *quietAgents) tell(ctx context.Context, in relay.Inbox, name string, content []byte) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for key, value := range in.Fields {
		if key == "key" {
			value = in.Prefix + name
		}
		if err := form.WriteField(key, value); err != nil {
			return err
		}
	}
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		return err
	}
	if _, err := part.Write(content); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, in.URL, &body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	response, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the store answers %s", response.Status)
	}
	return nil
}
