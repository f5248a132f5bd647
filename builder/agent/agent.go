// Package agent is the wire between the daemon and the program inside an
// instance, both ends of it.
//
// In a container the daemon starts `ingot-agent run`: a Job goes to its stdin,
// Events come back as JSON lines on its stdout (RunStream inside, Exec outside).
// In a guest `ingot-agent serve` answers on a virtio-serial port or a socket
// (Server inside, Client outside): connections come and go and lines get lost, a
// run goes on; a reboot that a document asks for happens on the way, and the
// client sees one run.
//
// What comes from an instance is hostile: messages are bounded, anything else is
// dropped, and nothing is believed beyond what an event can say. Which documents
// run is decided by the caller, how they run by package component.
package agent

import "github.com/seed-6db18919/ingot/builder/component"

// Hello is what an agent says about itself.
type Hello struct {
	Version string `json:"version"` // component.EngineVersion of the agent
	BootID  string `json:"bootId"`  // another one after each start of the machine
}

// request is one message to the agent.
type request struct {
	ID     uint64         `json:"id"`
	Op     operation      `json:"op"`
	Nonce  string         `json:"nonce,omitempty"`  // of hello
	Run    string         `json:"run,omitempty"`    // of run, cancel and heard: names one call of Client.Run
	Job    *component.Job `json:"job,omitempty"`    // of run
	After  uint64         `json:"after,omitempty"`  // of run: the last event that was heard
	Attach bool           `json:"attach,omitempty"` // of run: it has begun, do not begin it anew
	Chunk  *chunk         `json:"chunk,omitempty"`  // of put
}

type operation string

const (
	opHello    operation = "hello"
	opRun      operation = "run"
	opCancel   operation = "cancel"
	opHeard    operation = "heard" // the end of a run was heard: the machine may restart
	opPut      operation = "put"
	opReboot   operation = "reboot"
	opPoweroff operation = "poweroff"
)

// chunk is a piece of a file that is written on the instance.
type chunk struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"`            // permission bits, of the last chunk
	Owner  string `json:"owner,omitempty"` // name or number, of the last chunk
	Group  string `json:"group,omitempty"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
	Last   bool   `json:"last,omitempty"`
}

// response is one message from the agent. A run is answered by many: its events,
// then one with Done.
type response struct {
	ID     uint64            `json:"id"`
	Error  string            `json:"error,omitempty"`
	Nonce  string            `json:"nonce,omitempty"`
	Hello  *Hello            `json:"hello,omitempty"`
	Seq    uint64            `json:"seq,omitempty"` // of Event, from 1 in each start of the machine
	Event  *component.Event  `json:"event,omitempty"`
	Done   bool              `json:"done,omitempty"`
	Result *component.Result `json:"result,omitempty"`
}
