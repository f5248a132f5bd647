package agent

import (
	"encoding/xml"
	"unicode/utf16"
)

// task is a task of Windows Task Scheduler, in the words of its XML.
type task struct {
	XMLName   xml.Name `xml:"http://schemas.microsoft.com/windows/2004/02/mit/task Task"`
	Version   string   `xml:"version,attr"`
	About     string   `xml:"RegistrationInfo>Description"`
	AtBoot    bool     `xml:"Triggers>BootTrigger>Enabled"`
	Principal principal
	Settings  settings
	Actions   actions
}

type principal struct {
	XMLName xml.Name `xml:"Principals"`
	UserID  string   `xml:"Principal>UserId"`
	Level   string   `xml:"Principal>RunLevel"`
}

type settings struct {
	Instances   string `xml:"MultipleInstancesPolicy"`
	OnBatteries bool   `xml:"DisallowStartIfOnBatteries"`
	StopOnThem  bool   `xml:"StopIfGoingOnBatteries"`
	TimeLimit   string `xml:"ExecutionTimeLimit"`
}

type actions struct {
	Command   string `xml:"Exec>Command"`
	Arguments string `xml:"Exec>Arguments"`
}

// bootTask starts a program when the machine has started, as the account that
// the original runs as, with no limit of time.
func bootTask(about, command, arguments string) ([]byte, error) {
	const localSystem = "S-1-5-18"
	text, err := xml.MarshalIndent(task{
		Version: "1.2", About: about, AtBoot: true,
		Principal: principal{UserID: localSystem, Level: "HighestAvailable"},
		Settings:  settings{Instances: "IgnoreNew", TimeLimit: "PT0S"},
		Actions:   actions{command, arguments},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	// schtasks reads UTF-16 alone.
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(`<?xml version="1.0" encoding="UTF-16"?>` + "\r\n" + string(text))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out, nil
}
