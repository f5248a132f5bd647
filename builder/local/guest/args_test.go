package guest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
)

func commandLine(t *testing.T, spec Spec, fw firmwareFiles) []string {
	t.Helper()
	if err := spec.setDefaults(); err != nil {
		t.Fatal(err)
	}
	args, err := spec.args(fw)
	if err != nil {
		t.Fatal(err)
	}
	return args
}

// values are the values of an option, in order.
func values(args []string, option string) []string {
	var found []string
	for i, a := range args[:len(args)-1] {
		if a == option {
			found = append(found, args[i+1])
		}
	}
	return found
}

func TestNetworkIsClosedByDefault(t *testing.T) {
	for name, c := range map[string]struct {
		network Network
		want    []string
	}{
		"isolated":  {Isolated, []string{"user,id=net,restrict=on"}},
		"outbound":  {Outbound, []string{"user,id=net,restrict=off"}},
		"unplugged": {Unplugged, nil},
	} {
		t.Run(name, func(t *testing.T) {
			args := commandLine(t, Spec{Disk: "/d", Dir: "/w", Network: c.network}, firmwareFiles{})
			if got := values(args, "-netdev"); !slices.Equal(got, c.want) {
				t.Errorf("-netdev %q, want %q", got, c.want)
			}
		})
	}
}

func TestAccelerator(t *testing.T) {
	for accel, want := range map[Accel][2]string{
		"":  {"tcg,thread=multi", tcgCPU},
		TCG: {"tcg,thread=multi", tcgCPU},
		KVM: {"kvm", "host"},
	} {
		args := commandLine(t, Spec{Disk: "/d", Dir: "/w", Accel: accel}, firmwareFiles{})
		if got := [2]string{values(args, "-accel")[0], values(args, "-cpu")[0]}; got != want {
			t.Errorf("%q: %q, want %q", accel, got, want)
		}
	}
}

func TestDisksAreNamedInJSON(t *testing.T) {
	const odd = `/tmp/a,b "c"/disk.qcow2`
	spec := Spec{Disk: odd, Dir: "/w", Durable: true, ExtraDisks: []Disk{{Path: "/seed.img", Format: "raw", ReadOnly: true}}}
	args := commandLine(t, spec, firmwareFiles{code: "/code", vars: odd})
	var nodes []blockNode
	var files []string
	for _, text := range values(args, "-blockdev") {
		var node struct {
			blockNode
			Filename string `json:"filename"`
		}
		if err := json.Unmarshal([]byte(text), &node); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if node.Filename != "" {
			files = append(files, node.Filename)
			continue
		}
		nodes = append(nodes, node.blockNode)
	}
	if !slices.Equal(files, []string{"/code", odd}) {
		t.Errorf("firmware %q", files)
	}
	if len(nodes) != 2 {
		t.Fatalf("%d disks, want 2", len(nodes))
	}
	if n := nodes[0]; n.File.Filename != odd || n.Driver != "qcow2" || n.ReadOnly || n.Cache.NoFlush || n.File.Cache.NoFlush {
		t.Errorf("first disk %+v", n)
	}
	if n := nodes[1]; n.File.Filename != "/seed.img" || n.Driver != "raw" || !n.ReadOnly {
		t.Errorf("second disk %+v", n)
	}
	if spec.ExtraDisks[0].Path != "/seed.img" {
		t.Error("the caller's slice was written to")
	}
}

func TestSpecIsChecked(t *testing.T) {
	for want, spec := range map[string]Spec{
		`there is no accelerator "xen"`:                     {Accel: "xen"},
		"a machine cannot have -1 processors":               {CPUs: -1},
		"a machine cannot run in 16 MiB":                    {MemoryMiB: 16},
		`the format of disk /x is "vmdk", not qcow2 or raw`: {ExtraDisks: []Disk{{Path: "/x", Format: "vmdk"}}},
		"the channels to QEMU cannot be made":               {Dir: "/nowhere"},
	} {
		_, err := Start(t.Context(), spec)
		e := wantError(t, err, builder.Internal, want)
		if strings.Contains(e.Reason, "failed to") {
			t.Errorf("%v", e)
		}
	}
}

func TestStartWithCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Spec{Disk: emptyDisk(t), Dir: t.TempDir()}); err != context.Canceled {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
