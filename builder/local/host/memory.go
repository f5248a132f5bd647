package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

func checkMemory(meminfo string) Check {
	c := Check{Name: "memory", State: OK, Needed: true}
	text, err := os.ReadFile(meminfo)
	if err != nil {
		c.State, c.Detail = Limited, err.Error()
		c.Without = "it is not known whether guests fit"
		return c
	}
	available := memAvailable(string(text))
	c.Detail = amount(available) + " available"
	const comfortable, least = 2 << 30, 1 << 30
	switch {
	case available < least:
		c.State, c.Without = Missing, "a guest for tests needs about 1 GiB"
	case available < comfortable:
		c.State, c.Without = Limited, "only one guest at a time fits"
	}
	return c
}

// memAvailable reads "MemAvailable:   1234 kB"; 0 when it is not there.
func memAvailable(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

func amount(bytes int64) string {
	const gib = 1 << 30
	if bytes < gib {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/gib)
}
