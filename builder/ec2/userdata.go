package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
)

// atBoot is what an instance does at its first boot: what the recipe says, and then, but
// on Windows, what brings the Systems Manager agent. cloud-init takes both as parts of
// one message, so that neither takes the other's place. The same parts always give the
// same text: a call that is repeated has to be the same.
func atBoot(region, author string, windows bool) string {
	switch {
	case windows:
		return author
	case author == "":
		return userData(region)
	}
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	sum := sha256.Sum256([]byte(author))
	must := func(err error) {
		if err != nil {
			panic(err) // a buffer takes everything, and the boundary is one
		}
	}
	must(w.SetBoundary(fmt.Sprintf("ingot-%x", sum[:12])))
	fmt.Fprintf(&out, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n", w.Boundary())
	for _, text := range []string{author, userData(region)} {
		kind := "text/x-shellscript"
		if strings.HasPrefix(text, "#cloud-config") {
			kind = "text/cloud-config"
		}
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind + `; charset="utf-8"`}, "Content-Transfer-Encoding": {"8bit"}})
		must(err)
		_, err = part.Write([]byte(text))
		must(err)
	}
	must(w.Close())
	return out.String()
}

// awaitBoot waits until cloud-init has done what it was told. How that ended is in its
// log, and the components' to judge.
const awaitBoot = `name: await-boot
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Wait
        action: ExecuteBash
        inputs:
          commands:
            - if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null || true; fi
`

// afterBoot lets components begin when the recipe's user data has ended: an image that
// has the agent is reached long before.
func (i *instance) afterBoot(ctx context.Context) error {
	if i.spec.UserData == "" || i.windows || i.cleaned > 0 {
		return nil
	}
	job := component.Job{ID: "await-boot", Phases: []string{"build"},
		Documents: []component.JobDocument{{Name: "await-boot", Path: "await-boot.yaml", Text: awaitBoot}}}
	result, err := i.machine.run(ctx, builder.StageLaunch, job, func(component.Event) {})
	if err == nil && !result.Status.OK() {
		err = &builder.Error{Stage: builder.StageLaunch, Reason: "the end of the user data could not be waited for", Hint: "see whether cloud-init works in the parent image"}
	}
	return err
}
