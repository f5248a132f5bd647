// Command agent stands in for the real agent in this package's tests: it reads a
// job and obeys the words of its documents' texts, one command a line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

type job struct {
	Documents []struct{ Name, Text string }
	StateDir  string
	LogDir    string
}

func main() {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, d := range j.Documents {
		for line := range strings.Lines(d.Text) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			obey(j, word, rest)
		}
	}
	finish(`{"status":"success"}`, 0)
}

func finish(result string, status int) {
	fmt.Printf("{\"kind\":\"finished\",\"result\":%s}\n", result)
	os.Exit(status)
}

func say(text string) {
	line, _ := json.Marshal(map[string]string{"kind": "output", "stream": "stdout", "text": text})
	fmt.Println(string(line))
}

func obey(j job, word, rest string) {
	switch word {
	case "say":
		say(rest)
	case "raw":
		fmt.Println(rest)
	case "flood":
		w := bufio.NewWriter(os.Stdout)
		for range 16 << 20 {
			w.WriteByte('x')
		}
		w.WriteByte('\n')
		w.Flush()
	case "cat":
		text, err := os.ReadFile(rest)
		say(fmt.Sprint(string(text), errText(err)))
	case "write":
		name, text, _ := strings.Cut(rest, " ")
		os.Remove(name)
		say(errText(os.WriteFile(name, []byte(text), 0o644)))
	case "env":
		say(strings.Join(os.Environ(), "\n"))
	case "reboot":
		mark := j.StateDir + "/rebooted"
		if _, err := os.Stat(mark); err != nil || rest == "always" {
			os.WriteFile(mark, nil, 0o600)
			finish(`{"status":"success","reboot":true}`, 194)
		}
	case "die":
		os.Exit(1)
	case "hang":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		child := exec.Command("/proc/self/exe", "child")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.Stdin = os.Stdin
		child.Start()
		say("hanging")
		select {}
	}
}

func errText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
