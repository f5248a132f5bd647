package catalogue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/ec2/answer"
)

// authors is an error that the author of the recipe puts right.
func authors(reason, hint string, args ...any) error {
	return &builder.Error{Fault: builder.Author, Stage: builder.StageResolve, Reason: fmt.Sprintf(reason, args...), Hint: hint}
}

// failed sorts an error of AWS by who has to act.
func (q question) failed(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	e := &builder.Error{
		Stage:  builder.StageResolve,
		Reason: "AWS did not tell which image " + shorten(q.text) + " is",
		Err:    fmt.Errorf("%s: %w", what, err),
	}
	var api smithy.APIError
	switch e.Fault, e.Hint = answer.Means(err); {
	case !errors.As(err, &api):
		if !answer.Unknown(err) {
			e.Fault = builder.Transient
		}
	case api.ErrorCode() == "ParameterNotFound":
		e.Fault, e.Reason = builder.Author, "the parameter "+shorten(q.parameter)+" does not exist in this region"
		e.Hint = q.missingHint("create it, or name another parent image")
	case strings.HasPrefix(api.ErrorCode(), "InvalidAMIID"):
		e.Fault, e.Reason = builder.Author, "the image "+q.id+" does not exist in this region, or is not shared with this account"
		e.Hint = "name an image that the account can launch there"
	}
	return e
}

// missingHint explains an alias whose parameter is gone.
func (q question) missingHint(otherwise string) string {
	switch {
	case q.alias == nil:
		return otherwise
	case q.alias.Withdrawn != "":
		return q.alias.Withdrawn + "; name an image of your own by its id"
	}
	return "choose another region, or name an image by its id"
}

// shorten makes a foreign text fit for a message.
func shorten(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return text
}
