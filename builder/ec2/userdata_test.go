package ec2

import (
	"context"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/ec2/ec2test"
	"github.com/seed-6db18919/ingot/builder/recipe"
)

// partsOf reads user data as cloud-init does.
func partsOf(t *testing.T, text string) (kinds, texts []string) {
	t.Helper()
	message, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	kind, parameters, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" || message.Header.Get("MIME-Version") != "1.0" {
		t.Fatalf("%v, %v", message.Header, err)
	}
	r := multipart.NewReader(message.Body, parameters["boundary"])
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return kinds, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		kinds, texts = append(kinds, kind), append(texts, string(content))
	}
}

func TestUserDataIsBesideOurs(t *testing.T) {
	script, config := "#!/bin/sh\necho grüezi --ingot-\n", "#cloud-config\npackages: [curl]\n"
	for author, kind := range map[string]string{script: "text/x-shellscript", config: "text/cloud-config"} {
		text := atBoot("eu-west-1", author, false)
		kinds, texts := partsOf(t, text)
		if !slices.Equal(kinds, []string{kind, "text/x-shellscript"}) || !slices.Equal(texts, []string{author, userData("eu-west-1")}) {
			t.Errorf("%q and %q", kinds, texts)
		}
		if text != atBoot("eu-west-1", author, false) {
			t.Error("the repeat of a launch asks for something else")
		}
		if own := len(text) - len(author); own > recipe.OwnUserData {
			t.Errorf("%d bytes are ingot's, more than the %d that recipes leave", own, recipe.OwnUserData)
		}
	}
	if got := atBoot("eu-west-1", "<powershell>1</powershell>", true); got != "<powershell>1</powershell>" {
		t.Errorf("Windows gets %q", got)
	}
	if atBoot("eu-west-1", "", true) != "" || atBoot("eu-west-1", "", false) != userData("eu-west-1") {
		t.Error("without user data of a recipe there is another one than ours")
	}
}

// TestUserDataIsOfTheBuildAlone: the test instance boots as the instances of users do.
// Components run after it.
func TestUserDataIsOfTheBuildAlone(t *testing.T) {
	machines := ec2test.ContainerMachines(t)
	c := ec2test.Start(t, ec2test.Options{Machine: machines})
	var asked []string
	c.Faults.Add(&ec2test.Fault{Service: "ec2", Operation: "RunInstances", Effect: ec2test.Before(func(r *ec2test.Request) {
		text, err := base64.StdEncoding.DecodeString(r.Form.Get("UserData"))
		if err != nil {
			t.Error(err)
		}
		asked = append(asked, string(text))
	})})
	d := newDriver(t, configOf(t, c, realAgent(t)))
	const author = "#!/bin/sh\ntouch /etc/booted\n"
	inst, err := d.Launch(t.Context(), builder.LaunchSpec{Build: "b-1", Base: builder.Base{Ref: ec2test.Parents[0].ID}, UserData: author})
	if err != nil {
		t.Fatal(err)
	}
	defer inst.Close(context.WithoutCancel(t.Context()))
	result, err := inst.Run(t.Context(), jobOf("one", "true"), func(component.Event) {})
	if err != nil || !result.Status.OK() {
		t.Errorf("%+v, %v", result, err)
	}
	if n := len(c.Calls().Of("ssm", "SendCommand")); n != 2 {
		t.Errorf("%d commands were sent, want one that waits and one that runs", n)
	}
	guest, err := d.Boot(t.Context(), builder.BootSpec{Build: "b-1", Image: builder.Image{Ref: ec2test.Parents[0].ID}})
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if len(asked) != 2 || asked[0] != atBoot(ec2test.Region, author, false) || asked[1] != userData(ec2test.Region) {
		t.Errorf("instances were told %q", asked)
	}
}
