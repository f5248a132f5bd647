package ec2test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// seconds is a time as Systems Manager writes it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// cut shortens an output, with the words that say so within the limit.
func cut(text string, limit int, note string) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len(note)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + note
}

// show is a command as SendCommand and ListCommands have it.
func (cmd *command) show() map[string]any {
	ids, done, errs := []string{}, 0, 0
	status := commandSuccess
	for _, v := range cmd.runs {
		ids = append(ids, v.instance.id)
		switch v.status {
		case commandPending, commandInProgress:
			status = v.status
			continue
		case commandSuccess:
		default:
			errs++
			if status == commandSuccess {
				status = v.status
			}
		}
		done++
	}
	return map[string]any{
		"CommandId": cmd.id, "DocumentName": cmd.document, "Comment": cmd.comment, "Parameters": cmd.input.Parameters, "InstanceIds": ids,
		"RequestedDateTime": seconds(cmd.sent), "ExpiresAfter": seconds(cmd.expires), "Status": status, "StatusDetails": status,
		"TargetCount": len(cmd.runs), "CompletedCount": done, "ErrorCount": errs, "TimeoutSeconds": cmp.Or(cmd.input.TimeoutSeconds, 3600),
	}
}

// exit is the status code as plugins have it: -1 while there is none.
func (v *invocation) exit() int {
	if v.ended.IsZero() {
		return -1
	}
	return v.outcome.Exit
}

// show is an invocation as ListCommandInvocations has it.
func (v *invocation) show(details bool) map[string]any {
	out := map[string]any{
		"CommandId": v.command.id, "InstanceId": v.instance.id, "InstanceName": "", "Comment": v.command.comment, "DocumentName": v.command.document,
		"DocumentVersion": "$DEFAULT", "RequestedDateTime": seconds(v.command.sent), "Status": v.status, "StatusDetails": v.details, "CommandPlugins": []any{},
	}
	if !details {
		return out
	}
	text := v.outcome.Stdout
	if v.outcome.Stderr != "" {
		text += "\n----------ERROR-------\n" + v.outcome.Stderr
	}
	plugin := map[string]any{
		"Name": documents[v.command.document].plugin, "Status": v.status, "StatusDetails": v.details, "ResponseCode": v.exit(),
		"Output": cut(text, maxPluginOutput, outputCut),
	}
	if !v.started.IsZero() {
		plugin["ResponseStartDateTime"] = seconds(v.started)
	}
	if !v.ended.IsZero() {
		plugin["ResponseFinishDateTime"] = seconds(v.ended)
	}
	out["CommandPlugins"] = []any{plugin}
	return out
}

func (c *Cloud) getInvocation(body []byte) answer {
	in, refused := read[struct{ CommandId, InstanceId, PluginName string }](body)
	if refused.status != 0 {
		return refused
	}
	cmd := c.commands[in.CommandId]
	if cmd == nil {
		return wrong("InvocationDoesNotExist", "")
	}
	if cmd.unseen > 0 {
		cmd.unseen--
		return wrong("InvocationDoesNotExist", "")
	}
	at := slices.IndexFunc(cmd.runs, func(v *invocation) bool { return v.instance.id == in.InstanceId })
	plugin := documents[cmd.document].plugin
	switch {
	case at < 0:
		return wrong("InvocationDoesNotExist", "")
	case in.PluginName != "" && in.PluginName != plugin:
		return wrong("InvalidPluginName", "")
	}
	v := cmd.runs[at]
	out := map[string]any{
		"CommandId": cmd.id, "InstanceId": v.instance.id, "Comment": cmd.comment, "DocumentName": cmd.document, "DocumentVersion": "$DEFAULT",
		"PluginName": plugin, "ResponseCode": v.exit(), "Status": v.status, "StatusDetails": v.details,
		"StandardOutputContent": cut(v.outcome.Stdout, maxOutput, outputCut), "StandardErrorContent": cut(v.outcome.Stderr, maxOutput, errorCut),
		"StandardOutputUrl": "", "StandardErrorUrl": "", "ExecutionStartDateTime": "", "ExecutionEndDateTime": "", "ExecutionElapsedTime": "",
	}
	if !v.started.IsZero() {
		out["ExecutionStartDateTime"] = v.started.UTC().Format(time.RFC3339)
	}
	if !v.ended.IsZero() {
		out["ExecutionEndDateTime"] = v.ended.UTC().Format(time.RFC3339)
	}
	return reply(out)
}

// pair is a filter of Systems Manager, in the two spellings that it has.
type pair struct {
	Key, Value string
	Values     []string
}

func (p *pair) UnmarshalJSON(text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	for name, to := range map[string]any{"Key": &p.Key, "key": &p.Key, "Value": &p.Value, "value": &p.Value, "Values": &p.Values, "valueSet": &p.Values} {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// commandsQuery is what ListCommands and ListCommandInvocations are asked.
type commandsQuery struct {
	CommandId, InstanceId string
	MaxResults            int
	NextToken             string
	Filters               []pair
	Details               bool
}

// newest are the commands that a query may see, the newest first.
func (c *Cloud) newest(q commandsQuery) []*command {
	var found []*command
	for _, cmd := range c.commands {
		if q.CommandId == "" || cmd.id == q.CommandId {
			if cmd.unseen > 0 {
				cmd.unseen--
				continue
			}
			found = append(found, cmd)
		}
	}
	slices.SortFunc(found, func(a, b *command) int { return cmp.Or(b.sent.Compare(a.sent), cmp.Compare(a.id, b.id)) })
	return found
}

// passes applies the filters.
func (q commandsQuery) passes(cmd *command, status, details string) (bool, answer) {
	for _, f := range q.Filters {
		switch f.Key {
		case "InvokedAfter", "InvokedBefore":
			at, err := time.Parse(time.RFC3339, f.Value)
			if err != nil {
				return false, wrong("InvalidFilterKey", "%s is not a time: %v", f.Key, err)
			}
			if f.Key == "InvokedAfter" && cmd.sent.Before(at) || f.Key == "InvokedBefore" && !cmd.sent.Before(at) {
				return false, answer{}
			}
		case "Status":
			if f.Value != status && f.Value != details {
				return false, answer{}
			}
		case "DocumentName":
			if f.Value != cmd.document {
				return false, answer{}
			}
		case "ExecutionStage":
			executing := status == commandPending || status == commandInProgress
			if (f.Value == "Executing") != executing {
				return false, answer{}
			}
		default:
			return false, wrong("InvalidFilterKey", "The filter %s does not exist", f.Key)
		}
	}
	return true, answer{}
}

func (c *Cloud) listInvocations(body []byte) answer {
	q, refused := read[commandsQuery](body)
	if refused.status != 0 {
		return refused
	}
	var found []any
	for _, cmd := range c.newest(q) {
		for _, v := range cmd.runs {
			if q.InstanceId != "" && v.instance.id != q.InstanceId {
				continue
			}
			ok, refused := q.passes(cmd, v.status, v.details)
			if refused.status != 0 {
				return refused
			}
			if ok {
				found = append(found, v.show(q.Details))
			}
		}
	}
	return page("CommandInvocations", found, q.MaxResults, q.NextToken)
}

func (c *Cloud) listCommands(body []byte) answer {
	q, refused := read[commandsQuery](body)
	if refused.status != 0 {
		return refused
	}
	var found []any
	for _, cmd := range c.newest(q) {
		if q.InstanceId != "" && !slices.ContainsFunc(cmd.runs, func(v *invocation) bool { return v.instance.id == q.InstanceId }) {
			continue
		}
		shown := cmd.show()
		ok, refused := q.passes(cmd, fmt.Sprint(shown["Status"]), fmt.Sprint(shown["StatusDetails"]))
		if refused.status != 0 {
			return refused
		}
		if ok {
			found = append(found, shown)
		}
	}
	return page("Commands", found, q.MaxResults, q.NextToken)
}

// page answers with a part of a list.
func page(name string, all []any, most int, token string) answer {
	start := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n > len(all) {
			return wrong("InvalidNextToken", "The specified token is not valid")
		}
		start = n
	}
	if most == 0 {
		most = 50
	}
	end := min(len(all), start+most)
	out := map[string]any{name: append([]any{}, all[start:end]...)}
	if end < len(all) {
		out["NextToken"] = strconv.Itoa(end)
	}
	return reply(out)
}

// describeInformation lists the agents that were ever heard of.
func (c *Cloud) describeInformation(body []byte) answer {
	in, refused := read[struct {
		MaxResults                    int
		NextToken                     string
		Filters                       []pair
		InstanceInformationFilterList []pair
	}](body)
	if refused.status != 0 {
		return refused
	}
	if len(in.Filters) > 0 && len(in.InstanceInformationFilterList) > 0 {
		return wrong("InvalidInstanceInformationFilterValue", "Filters and InstanceInformationFilterList exclude each other")
	}
	var ids []string
	for id := range c.instances {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var found []any
	for _, id := range ids {
		i := c.instances[id]
		if i.state == statePending {
			i.poll() // who asks for the agent alone must see it come, too
		}
		if !c.registered(i) {
			continue
		}
		platform := "Linux"
		if i.parent.attributes["platform"] == "windows" {
			platform = "Windows"
		}
		ok := true
		for _, f := range append(in.Filters, in.InstanceInformationFilterList...) {
			fields := map[string]string{"InstanceIds": id, "PingStatus": "Online", "PlatformTypes": platform, "ResourceType": "EC2Instance"}
			have, known := fields[f.Key]
			if !known {
				return wrong("InvalidInstanceInformationFilterValue", "The filter %s is not known here", f.Key)
			}
			ok = ok && slices.Contains(f.Values, have)
		}
		if ok {
			found = append(found, map[string]any{
				"InstanceId": id, "PingStatus": "Online", "LastPingDateTime": seconds(time.Now()), "AgentVersion": "3.3.2299.0", "IsLatestVersion": true,
				"PlatformType": platform, "PlatformName": platform, "PlatformVersion": "12", "ResourceType": "EC2Instance",
				"IPAddress": "127.0.0.1", "ComputerName": id,
			})
		}
	}
	return page("InstanceInformationList", found, in.MaxResults, in.NextToken)
}
