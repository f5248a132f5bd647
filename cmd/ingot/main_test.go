package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestReaderThatLeavesStopsTheProgram(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, left := context.WithCancelCause(t.Context())
	defer left(nil)
	r := reader{out, left}
	if _, err := fmt.Fprintln(r, "heard"); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, context.Cause(ctx))
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(r, "not heard"); !errors.Is(err, syscall.EPIPE) || !errors.Is(context.Cause(ctx), errNobodyReads) {
		t.Errorf("%v, %v", err, context.Cause(ctx))
	}
}
