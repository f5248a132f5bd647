package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/sirupsen/logrus"
)

// program runs the machines. The Debian package is qemu-system-x86.
const program = "qemu-system-x86_64"

// AgentPort is the name of the virtio-serial port that the agent serves. udev
// makes /dev/virtio-ports/ with that name.
const AgentPort = "org.ingot.agent.0"

// agentPortID is the port's name in QEMU's events.
const agentPortID = "agent"

// tcgCPU is the emulated processor. It has the second level of the architecture,
// below which some distributions do not start, and not what it costs most to emulate.
// By vendor, family and model it is an Atom of 2011: one that executes nothing ahead of
// time, so that Linux needs no countermeasures, and that counts time alike on all its
// processors, so that Linux reads the time from it and not from a device.
const tcgCPU = "qemu64,vendor=GenuineIntel,family=6,model=54,stepping=1,-svm,+cx16,+lahf-lm,+popcnt,+sse4.1,+sse4.2,+ssse3"

// Accel is how the guest's instructions are executed.
type Accel string

const (
	TCG Accel = "tcg" // in software: runs everywhere
	KVM Accel = "kvm" // by the host's processor
)

// Network is what the guest's network card reaches. In all cases the guest gets an
// address over DHCP, so that its services run as they would elsewhere.
type Network int

const (
	// Isolated reaches nothing. It is the safe one, for tests.
	Isolated Network = iota
	// Outbound reaches what the host reaches, the host's own loopback included
	// (as 10.0.2.2): services there must not trust whoever comes from it.
	Outbound
	// Unplugged has no card at all.
	Unplugged
)

// Disk is a further disk of a machine.
type Disk struct {
	Path     string
	Format   string // qcow2 or raw; never guessed, since a guess believes what the guest wrote
	ReadOnly bool
}

// Spec describes a machine.
type Spec struct {
	Disk       string // qcow2 file that the machine boots from and writes to
	Durable    bool   // what the guest flushes reaches the disk; otherwise a crash of the host costs it
	ExtraDisks []Disk
	Dir        string   // existing folder of this machine alone: log, socket, firmware variables
	Accel      Accel    // default TCG
	CPUs       int      // default 2
	MemoryMiB  int      // default 1024
	Firmware   Firmware // default BIOS
	Network    Network
	Env        []string // further environment of QEMU, as NAME=value: whose machine this is
	Log        logrus.FieldLogger
}

func (s *Spec) setDefaults() error {
	if s.Accel == "" {
		s.Accel = TCG
	}
	if s.CPUs == 0 {
		s.CPUs = 2
	}
	if s.MemoryMiB == 0 {
		s.MemoryMiB = 1024
	}
	if s.Log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		s.Log = quiet
	}
	for _, path := range s.paths() {
		var err error
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

// paths are made absolute: QEMU runs in Dir.
func (s *Spec) paths() []*string {
	paths := []*string{&s.Disk, &s.Dir}
	disks := make([]Disk, len(s.ExtraDisks))
	copy(disks, s.ExtraDisks)
	s.ExtraDisks = disks
	for i := range disks {
		paths = append(paths, &disks[i].Path)
	}
	return paths
}

// check finds what QEMU would say less clearly, or accept.
func (s *Spec) check() error {
	switch {
	case s.Accel != TCG && s.Accel != KVM:
		return hostError(nil, "Use kvm or tcg.", "there is no accelerator %q", s.Accel)
	case s.CPUs < 1 || s.CPUs > 255:
		return hostError(nil, "", "a machine cannot have %d processors", s.CPUs)
	case s.MemoryMiB < 64:
		return hostError(nil, "", "a machine cannot run in %d MiB", s.MemoryMiB)
	}
	for _, d := range s.ExtraDisks {
		if d.Format != "qcow2" && d.Format != "raw" {
			return hostError(nil, "", "the format of disk %s is %q, not qcow2 or raw", d.Path, d.Format)
		}
	}
	return nil
}

// args is QEMU's command line. What is left out counts as much as what is there:
// every device that firmware and kernel must probe costs time when instructions
// are emulated.
func (s *Spec) args(fw firmwareFiles) ([]string, error) {
	args := []string{
		"-name", "ingot", "-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=off",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		// Without graphics SeaBIOS and GRUB use the serial console, which is where we listen.
		"-machine", "q35,graphics=off,usb=off,vmport=off,smbus=off,sata=off,i8042=off,hpet=off",
		"-boot", "strict=on",
		"-accel", s.accel(), "-cpu", s.cpu(),
		"-smp", strconv.Itoa(s.CPUs), "-m", fmt.Sprintf("%dM", s.MemoryMiB),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", serialFD), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", agentFD),
		"-device", "virtserialport,chardev=agent,id=" + agentPortID + ",name=" + AgentPort,
		"-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng",
	}
	if s.Accel == TCG {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=debug,fd=%d", debugFD), "-gdb", "chardev:debug")
	}
	args = append(args, s.Network.args()...)
	args = append(args, fw.args()...)
	disks := append([]Disk{{Path: s.Disk, Format: "qcow2"}}, s.ExtraDisks...)
	for i, d := range disks {
		more, err := d.args(i, s.Durable)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
	return args, nil
}

func (s *Spec) accel() string {
	if s.Accel == KVM {
		return "kvm"
	}
	return "tcg,thread=multi"
}

func (s *Spec) cpu() string {
	if s.Accel == KVM {
		return "host"
	}
	return tcgCPU
}

func (n Network) args() []string {
	if n == Unplugged {
		return nil
	}
	restrict := "on"
	if n == Outbound {
		restrict = "off"
	}
	return []string{
		"-netdev", "user,id=net,restrict=" + restrict,
		"-device", "virtio-net-pci,netdev=net,romfile=", // nothing boots from the network
	}
}

// blockFile and blockNode are QEMU's BlockdevOptions, as far as they are used. As
// JSON they need no quoting, whatever a path contains.
type blockFile struct {
	Driver   string     `json:"driver"`
	Filename string     `json:"filename"`
	Discard  string     `json:"discard"`
	Cache    blockCache `json:"cache"`
}

type blockNode struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name"`
	ReadOnly bool       `json:"read-only"`
	Discard  string     `json:"discard"`
	Cache    blockCache `json:"cache"`
	File     blockFile  `json:"file"`
}

type blockCache struct {
	NoFlush bool `json:"no-flush"`
}

// args attaches the disk; the first is the one to boot from.
func (d Disk) args(index int, durable bool) ([]string, error) {
	name := fmt.Sprintf("disk%d", index)
	cache := blockCache{NoFlush: !durable}
	node, err := json.Marshal(blockNode{
		Driver: d.Format, NodeName: name, ReadOnly: d.ReadOnly, Discard: "unmap", Cache: cache,
		File: blockFile{Driver: "file", Filename: d.Path, Discard: "unmap", Cache: cache},
	})
	if err != nil {
		return nil, err
	}
	device := "virtio-blk-pci,drive=" + name
	if index == 0 {
		device += ",bootindex=0"
	}
	return []string{"-blockdev", string(node), "-device", device}, nil
}
