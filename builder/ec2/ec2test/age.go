package ec2test

import (
	"regexp"
	"time"
)

// Age has EC2 show all that there is, and all that is made later, as older than it is.
func (c *Cloud) Age(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age += by
}

// beginnings are when something was made, in answers of EC2.
var beginnings = regexp.MustCompile(`<(launchTime|startTime|createTime|creationDate)>([^<]+)<`)

// aged is an answer after Age. The lock is held.
func (c *Cloud) aged(a answer) answer {
	if c.age == 0 {
		return a
	}
	a.body = beginnings.ReplaceAllFunc(a.body, func(found []byte) []byte {
		parts := beginnings.FindSubmatch(found)
		made, err := time.Parse(time.RFC3339, string(parts[2]))
		if err != nil {
			return found
		}
		return []byte("<" + string(parts[1]) + ">" + made.Add(-c.age).UTC().Format("2006-01-02T15:04:05.000Z") + "<")
	})
	return a
}
