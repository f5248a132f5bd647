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
	"time"

	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/relay"
)

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
