package ec2test

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// computeCall answers a call of EC2.
func (c *Cloud) computeCall(r *Request) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aged(c.compute(r))
}

// compute is computeCall with the lock held. Calls that are not named pass to moto.
func (c *Cloud) compute(r *Request) answer {
	form := r.Form
	switch r.Operation {
	case "RunInstances":
		return c.runInstances(r)
	case "DescribeInstances":
		return c.describeInstances(form)
	case "DescribeInstanceStatus":
		return c.describeStatus(form)
	case "StopInstances", "StartInstances", "TerminateInstances":
		return c.changeState(r.Operation, form)
	case "RebootInstances":
		return c.rebootInstances(form)
	case "GetConsoleOutput":
		return c.consoleOutput(form)
	case "CreateImage":
		return c.createImage(r)
	case "RegisterImage":
		return c.registerImage(form)
	case "DescribeImages":
		return c.describeImages(form)
	case "ModifyImageAttribute":
		return c.modifyImage(form)
	case "DeregisterImage":
		return c.deregisterImage(form)
	case toImage.operation:
		return c.importDisk(toImage, form)
	case toImage.describe:
		return c.describeImports(toImage, form)
	case toSnapshot.operation:
		return c.importDisk(toSnapshot, form)
	case toSnapshot.describe:
		return c.describeImports(toSnapshot, form)
	case "CancelImportTask":
		return c.cancelImport(form)
	case "CreateSnapshot":
		return c.createSnapshot(form)
	case "DescribeSnapshots":
		return c.describeSnapshots(form)
	case "DeleteSnapshot":
		return c.deleteSnapshot(form)
	case "CreateTags", "DeleteTags":
		return c.changeTags(form)
	}
	return c.emulator.form(c.ctx, "ec2", form)
}

// bad refuses a call of EC2 as the caller's mistake.
func bad(code, format string, arguments ...any) answer {
	return refuse("ec2", http.StatusBadRequest, code, fmt.Sprintf(format, arguments...))
}

func good(n *tree) answer {
	return answer{status: http.StatusOK, kind: "text/xml", body: n.bytes()}
}

// appear notes that a resource was just made: describes may not find it yet.
func (c *Cloud) appear(id string) {
	if c.options.Unseen > 0 {
		c.unseen[id] = c.options.Unseen
	}
}

// hidden says whether a describe does not find a resource yet, and counts it.
func (c *Cloud) hidden(id string) bool {
	if c.unseen[id] == 0 {
		return false
	}
	if c.unseen[id]--; c.unseen[id] == 0 {
		delete(c.unseen, id)
	}
	return true
}

// hiddenIDs are those of a list that a describe does not find yet.
func (c *Cloud) hiddenIDs(ids []string) []string {
	var hidden []string
	for _, id := range ids {
		if c.hidden(id) {
			hidden = append(hidden, id)
		}
	}
	return hidden
}

// reservation is what a client token stands for.
type reservation struct {
	parameters string
	answer     []byte
}

// runInstances launches.
func (c *Cloud) runInstances(r *Request) answer {
	form := r.Form
	token, parameters := form.Get("ClientToken"), form.Encode()
	if before, known := c.tokens[token]; known && token != "" {
		if before.parameters != parameters {
			return bad("IdempotentParameterMismatch", "The client token you have provided is associated with a resource whose parameters are different")
		}
		return c.sameReservation(before)
	}
	parent, refused := c.launchable(form.Get("ImageId"))
	if parent == nil {
		return refused
	}
	if form.Get("InstanceType") == "" {
		form.Set("InstanceType", "m1.small")
	}
	if most := form.Get("MaxCount"); most != form.Get("MinCount") {
		return bad("UnsupportedOperation", "the test's cloud launches as many instances as it can have, so MinCount must be MaxCount")
	}
	if refused := spotRequest(form); refused.status != 0 {
		return refused
	}
	userData, err := base64.StdEncoding.DecodeString(form.Get("UserData"))
	if err != nil || len(userData) > 16<<10 {
		return bad("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data, or more than 16 KB")
	}
	devices, refused := launchDevices(form, parent)
	if devices == nil {
		return refused
	}
	root := devices[0]
	setDevices(form, devices)
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	for _, item := range parsed.items("instancesSet") {
		id := item.get("instanceId")
		i := &instance{
			id: id, parent: parent, devices: devices, noAgent: r.noAgent, changed: make(chan struct{}),
			profile: form.Get("IamInstanceProfile.Name")+form.Get("IamInstanceProfile.Arn") != "",
			spot:    form.Get("InstanceMarketOptions.MarketType") == "spot",
		}
		i.ends = i.spot || form.Get("InstanceInitiatedShutdownBehavior") == "terminate"
		i.enter(statePending, c.options.Polls, true)
		i.machine = Machine(noMachine{})
		if c.options.Machine != nil {
			i.machine = c.options.Machine(Launch{
				Instance: id, Image: parent.id, Type: form.Get("InstanceType"), RootGiB: root.gib,
				Root: c.uploadedRoot(root.snapshot, root.gib), UserData: string(userData), Tags: TagsFor(form, "instance"),
			})
		}
		c.instances[id] = i
		c.appear(id)
		showState(item, "instanceState", i.state)
		c.boot(i)
	}
	a = good(parsed)
	if token != "" {
		c.tokens[token] = reservation{parameters: parameters, answer: a.body}
	}
	return a
}

// spotRequest says why there can be no Spot request. Those that outlive their instance,
// and launch another when it is terminated, are not here.
func spotRequest(form url.Values) answer {
	const options = "InstanceMarketOptions.SpotOptions."
	kind, interrupted := cmp.Or(form.Get(options+"SpotInstanceType"), "one-time"), form.Get(options+"InstanceInterruptionBehavior")
	switch {
	case kind == "persistent":
		return bad("UnsupportedOperation", "the test's cloud has one-time Spot requests alone")
	case interrupted == "stop" || interrupted == "hibernate":
		return bad("InvalidParameterCombination", "The request with type '%s' is not supported when instanceInterruptionBehavior is set to '%s'.", kind, interrupted)
	}
	return answer{}
}

// sameReservation answers a launch that was asked for again.
func (c *Cloud) sameReservation(before reservation) answer {
	parsed, err := parseTree(before.answer)
	if err != nil {
		return answer{err: err}
	}
	for _, item := range parsed.items("instancesSet") {
		i := c.instances[item.get("instanceId")]
		if i == nil || i.state == stateTerminated {
			return bad("IdempotentInstanceTerminated", "The client token is that of the instance %s, which has been terminated", item.get("instanceId"))
		}
		showState(item, "instanceState", i.state)
	}
	return good(parsed)
}

// launchable finds the image of a launch.
func (c *Cloud) launchable(id string) (*image, answer) {
	img := c.images[id]
	switch {
	case img == nil || c.unseen[id] > 0 && c.hidden(id):
		return nil, bad("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	case img.state != stateAvailable:
		return nil, bad("InvalidAMIID.Unavailable", "The image ID '%s' is not available", id)
	}
	return img, answer{}
}

// describeInstances shows the states as they pass.
func (c *Cloud) describeInstances(form url.Values) answer {
	ids := list(form, "InstanceId")
	missing := c.hiddenIDs(ids)
	for _, id := range ids {
		if c.instances[id] == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return bad("InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(missing, ", "))
	}
	named := len(ids) > 0
	filters := takeFilters(form, func(name string) bool { return name == "instance-state-name" })
	parsed, a := c.allInstances(form)
	if parsed == nil {
		return a
	}
	for _, reserved := range parsed.items("reservationSet") {
		reserved.keep(func(item *tree) bool {
			i := c.instances[item.get("instanceId")]
			if i == nil || !named && c.hidden(i.id) {
				return false
			}
			state := i.poll()
			showState(item, "instanceState", state)
			if i.reason[0] != "" {
				item.put(element("stateReason", value("code", i.reason[0]), value("message", i.reason[1])))
			}
			return !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(state) })
		}, "instancesSet")
	}
	parsed.keep(func(reserved *tree) bool { return len(reserved.items("instancesSet")) > 0 }, "reservationSet")
	return good(parsed)
}

// allInstances asks moto for one page, or for all if no size of a page was asked for:
// moto's own are smaller than the service's.
func (c *Cloud) allInstances(form url.Values) (*tree, answer) {
	all, a := c.form(c.ctx, form)
	if form.Has("MaxResults") {
		return all, a
	}
	for page := all; page.get("nextToken") != ""; {
		form.Set("NextToken", page.get("nextToken"))
		if page, a = c.form(c.ctx, form); page == nil {
			return nil, a
		}
		all.find("reservationSet").children = append(all.items("reservationSet"), page.items("reservationSet")...)
	}
	if all != nil {
		all.remove("nextToken")
	}
	return all, a
}

// describeStatus shows the same for DescribeInstanceStatus.
func (c *Cloud) describeStatus(form url.Values) answer {
	if hidden := c.hiddenIDs(list(form, "InstanceId")); len(hidden) > 0 {
		return bad("InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(hidden, ", "))
	}
	all := form.Get("IncludeAllInstances") == "true"
	form.Set("IncludeAllInstances", "true")
	filters := takeFilters(form, func(name string) bool { return name == "instance-state-name" })
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	parsed.keep(func(item *tree) bool {
		i := c.instances[item.get("instanceId")]
		if i == nil {
			return false
		}
		state := i.poll()
		showState(item, "instanceState", state)
		return (all || state == stateRunning) && !slices.ContainsFunc(filters, func(f filter) bool { return !f.matches(state) })
	}, "instanceStatusSet")
	return good(parsed)
}

// changeState stops, starts or terminates: all of the instances, or none.
func (c *Cloud) changeState(operation string, form url.Values) answer {
	ids := list(form, "InstanceId")
	for _, id := range ids {
		i := c.instances[id]
		if i == nil || c.hidden(id) {
			return bad("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
		if refused := mayChange(operation, i); refused.status != 0 {
			return refused
		}
	}
	before := map[string]string{}
	for _, id := range ids {
		before[id] = c.instances[id].state
	}
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	for _, item := range parsed.items("instancesSet") {
		i := c.instances[item.get("instanceId")]
		c.change(operation, i)
		showState(item, "previousState", before[i.id])
		showState(item, "currentState", i.state)
	}
	return good(parsed)
}

// mayChange says why an instance cannot be stopped or started.
func mayChange(operation string, i *instance) answer {
	state := i.state
	switch {
	case operation == "StopInstances" && i.spot:
		return bad("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", i.id)
	case operation == "StopInstances" && !slices.Contains([]string{stateRunning, stateStopping, stateStopped}, state):
		return bad("IncorrectInstanceState", "This instance '%s' is not in a state from which it can be stopped.", i.id)
	case operation == "StartInstances" && !slices.Contains([]string{stateRunning, statePending, stateStopped}, state):
		return bad("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.id)
	}
	return answer{}
}

func (c *Cloud) change(operation string, i *instance) {
	switch operation {
	case "StopInstances":
		if i.state == stateRunning {
			i.enter(stateStopping, c.options.Polls, false)
			i.known = false
			c.halt(i, func() { i.settled = true })
		}
	case "StartInstances":
		if i.state == stateStopped {
			i.enter(statePending, c.options.Polls, true)
			i.reason = [2]string{}
			c.boot(i)
		}
	case "TerminateInstances":
		if i.state != stateShuttingDown && i.state != stateTerminated {
			i.enter(stateShuttingDown, c.options.Polls, false)
			c.remove(i)
		}
	}
}

func (c *Cloud) rebootInstances(form url.Values) answer {
	a := c.emulator.form(c.ctx, "ec2", form)
	if a.ok() {
		for _, id := range list(form, "InstanceId") {
			if i := c.instances[id]; i != nil && i.state == stateRunning {
				c.halt(i, func() {})
				c.boot(i)
			}
		}
	}
	return a
}

func (c *Cloud) consoleOutput(form url.Values) answer {
	i := c.instances[form.Get("InstanceId")]
	if i == nil {
		return bad("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", form.Get("InstanceId"))
	}
	parsed, a := c.form(c.ctx, form)
	if parsed == nil {
		return a
	}
	parsed.put(value("output", base64.StdEncoding.EncodeToString([]byte(i.machine.Console()))))
	return good(parsed)
}

// changeTags refuses what moto accepts: tags on what is not there.
func (c *Cloud) changeTags(form url.Values) answer {
	if ids := list(form, "ResourceId"); len(ids) > 0 && strings.HasPrefix(ids[0], importPrefix) {
		return c.tagImports(ids, form)
	}
	for _, id := range list(form, "ResourceId") {
		kind, _, _ := strings.Cut(id, "-")
		known, code := true, ""
		switch kind {
		case "i":
			known, code = c.instances[id] != nil, "InvalidInstanceID.NotFound"
		case "ami":
			known, code = c.images[id] != nil && !c.images[id].public, "InvalidAMIID.NotFound"
		}
		if !known || c.hidden(id) {
			return bad(code, "The ID '%s' does not exist", id)
		}
	}
	return c.emulator.form(c.ctx, "ec2", form)
}
