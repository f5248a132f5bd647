package ec2test

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"sync"
)

// States of instances and images.
const (
	statePending      = "pending"
	stateRunning      = "running"
	stateStopping     = "stopping"
	stateStopped      = "stopped"
	stateShuttingDown = "shutting-down"
	stateTerminated   = "terminated"
	stateAvailable    = "available"
	stateFailed       = "failed"
)

var stateCodes = map[string]int{
	statePending: 0, stateRunning: 16, stateShuttingDown: 32, stateTerminated: 48, stateStopping: 64, stateStopped: 80,
}

// next is where a passing state leads.
var next = map[string]string{statePending: stateRunning, stateStopping: stateStopped, stateShuttingDown: stateTerminated}

// instance is what is known of an instance besides what moto knows. The Cloud's lock
// guards it.
type instance struct {
	id      string
	parent  *image
	devices []device // as it was launched
	state   string
	polls   int  // describes until the state may pass
	settled bool // the machine has done what the state waits for
	reason  [2]string
	profile bool // the agent may reach Systems Manager
	noAgent bool // it never does
	muted   bool // it takes no commands any more
	spot    bool // of a one-time request, so that it cannot be stopped
	ends    bool // terminated when it shuts itself down

	machine  Machine
	online   bool            // the agent runs
	known    bool            // Systems Manager has heard of it since the start; a restart goes unnoticed
	up       context.Context // from a start to the next stop
	down     context.CancelFunc
	running  sync.WaitGroup  // scripts
	previous <-chan struct{} // closed after the last of the machine's tasks so far
	changed  chan struct{}   // closed when online changes
}

// poll is what a describe sees; enough of them let a state pass.
func (i *instance) poll() string {
	if i.polls > 0 {
		i.polls--
	} else if to, passes := next[i.state]; passes && i.settled {
		i.state = to
	}
	return i.state
}

func (i *instance) enter(state string, polls int, settled bool) {
	i.state, i.polls, i.settled = state, polls, settled
}

func (i *instance) setOnline(online bool) {
	i.online = online
	close(i.changed)
	i.changed = make(chan struct{})
}

// registered says whether Systems Manager takes the agent for being online.
func (c *Cloud) registered(i *instance) bool {
	return i.known && i.state == stateRunning && !i.noAgent && (i.profile || c.options.HostManagement)
}

// listening says whether the agent takes commands.
func (c *Cloud) listening(i *instance) bool { return i.online && !i.muted && c.registered(i) }

// task does something with the machine after everything that was to be done with it
// before. The lock is held.
func (c *Cloud) task(i *instance, do func()) <-chan struct{} {
	before, done := i.previous, make(chan struct{})
	i.previous = done
	c.work.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		do()
	})
	return done
}

// boot starts the machine. The lock is held.
func (c *Cloud) boot(i *instance) <-chan struct{} {
	ctx, down := context.WithCancel(c.ctx)
	i.up, i.down = ctx, down
	return c.task(i, func() {
		err := i.machine.Start(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case ctx.Err() != nil: // stopped while it started
		case errors.Is(err, ErrNoAgent): // it runs, and nobody hears of it
		case err != nil:
			c.t.Errorf("start the machine of %s: %v", i.id, err)
		default:
			i.known = true
			i.setOnline(true)
		}
	})
}

// halt stops the machine and calls then with the lock. The lock is held.
func (c *Cloud) halt(i *instance, then func()) <-chan struct{} {
	i.setOnline(false)
	i.down()
	return c.task(i, func() {
		i.running.Wait()
		if err := i.machine.Stop(context.WithoutCancel(c.ctx)); err != nil {
			c.t.Errorf("stop the machine of %s: %v", i.id, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		then()
	})
}

// remove removes the machine. The lock is held.
func (c *Cloud) remove(i *instance) {
	i.known = false
	c.halt(i, func() {})
	c.task(i, func() {
		if err := i.machine.Close(); err != nil {
			c.t.Errorf("remove the machine of %s: %v", i.id, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		i.settled = true
	})
}

// restart is what a script's status asks for; it returns when the machine is up.
func (c *Cloud) restart(i *instance) {
	c.mu.Lock()
	if i.up.Err() != nil {
		c.mu.Unlock()
		return
	}
	c.halt(i, func() {})
	up := c.boot(i)
	c.mu.Unlock()
	<-up
}

// photograph keeps the disk as an image's; a machine that runs is restarted. The lock is held.
func (c *Cloud) photograph(i *instance, img *image) {
	ran := i.state != stateStopped
	if ran {
		c.halt(i, func() {})
	}
	c.task(i, func() {
		err := i.machine.Image(c.ctx, img.id)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil && c.ctx.Err() == nil {
			c.t.Errorf("image of %s: %v", i.id, err)
			img.state = stateFailed
		}
		img.settled = true
	})
	if ran {
		c.boot(i)
	}
}

// closeMachines removes what the test left, after everything else has ended.
func (c *Cloud) closeMachines() {
	for _, i := range c.instances {
		if i.state == stateTerminated || i.state == stateShuttingDown {
			continue
		}
		i.running.Wait()
		if err := errors.Join(i.machine.Stop(context.WithoutCancel(c.ctx)), i.machine.Close()); err != nil {
			c.t.Errorf("remove the machine of %s: %v", i.id, err)
		}
	}
}

// Kill ends an instance as EC2 does when its hardware fails or a Spot instance is
// taken back: it is terminated at once.
func (c *Cloud) Kill(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[id]
	if i == nil {
		c.t.Errorf("there is no instance %q to kill", id)
		return
	}
	if _, a := c.form(c.ctx, url.Values{"Action": {"TerminateInstances"}, "InstanceId.1": {id}}); !a.ok() {
		c.t.Errorf("kill %s: %s %v", id, a.body, a.err)
	}
	i.enter(stateTerminated, 0, true)
	i.reason = [2]string{"Server.InternalError", "Server.InternalError: Internal error on launch"}
	if i.spot {
		i.reason = [2]string{"Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination"}
	}
	c.remove(i)
}

// Forget lets describes show a terminated instance no more, as EC2 does after an hour.
// Its client token stays used.
func (c *Cloud) Forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.instances[id]; i == nil || i.state != stateTerminated {
		c.t.Errorf("there is no terminated instance %q to forget", id)
		return
	}
	delete(c.instances, id)
}

// PowerOff shuts an instance down from the inside, as Sysprep does: it is then stopped,
// or terminated if it was launched so.
func (c *Cloud) PowerOff(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[id]
	if i == nil {
		c.t.Errorf("there is no instance %q to shut down", id)
		return
	}
	if i.state != stateRunning {
		return
	}
	operation := "StopInstances"
	if i.ends {
		operation = "TerminateInstances"
	}
	if _, a := c.form(c.ctx, url.Values{"Action": {operation}, "InstanceId.1": {id}}); !a.ok() {
		c.t.Errorf("shut %s down: %s %v", id, a.body, a.err)
	}
	i.reason = [2]string{"Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"}
	c.change(operation, i)
}

// Mute lets an instance's agent take no commands from now on. Systems Manager does not
// notice.
func (c *Cloud) Mute(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.instances[id]; i != nil {
		i.muted = true
		return
	}
	c.t.Errorf("there is no instance %q to mute", id)
}

// Instances are the IDs of the instances that are neither terminated nor about to be.
func (c *Cloud) Instances() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for id, i := range c.instances {
		if i.state != stateTerminated && i.state != stateShuttingDown {
			ids = append(ids, id)
		}
	}
	return ids
}

// showState writes a state into an element of an answer.
func showState(n *tree, name, state string) {
	n.put(element(name, value("code", strconv.Itoa(stateCodes[state])), value("name", state)))
}
