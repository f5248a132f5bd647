package component

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killTree kills root with its group and descendants, and every process that
// carries mark in its environment, until none is left or patience is over. A
// process that left the group, lost its parent and cleared its environment all
// at once is not found. Root 0 stands for a root that is gone.
func killTree(root int, mark string, patience time.Duration) {
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		victims := tree(root, []byte(mark))
		if len(victims) == 0 {
			return
		}
		// Stopped first, none can start another or complain of one that died before it.
		for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			for _, pid := range victims {
				// One that has ended meanwhile is what is wanted.
				_ = syscall.Kill(pid, signal)
			}
		}
		// Nothing announces the death of somebody else's child.
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// tree lists the living processes that belong to a step.
func tree(root int, mark []byte) []int {
	parents := map[int]int{}
	member := map[int]bool{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		s, ok := processStat(pid)
		if !ok || s.state == 'Z' || s.state == 'X' {
			continue
		}
		parents[pid] = s.parent
		member[pid] = root > 0 && (pid == root || s.group == root) || carries(pid, mark)
	}
	var out []int
	for pid := range parents {
		if descends(pid, parents, member) {
			out = append(out, pid)
		}
	}
	return out
}

// descends reports whether a process or one of its ancestors is a member.
func descends(pid int, parents map[int]int, member map[int]bool) bool {
	for steps := 0; pid > 1 && steps <= len(parents); steps++ {
		if member[pid] {
			return true
		}
		pid = parents[pid]
	}
	return false
}

type stat struct {
	state         byte
	parent, group int
}

// processStat reads what the kernel says of a process. The name before the
// fields may hold anything.
func processStat(pid int) (s stat, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 3 {
		return stat{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	group, err2 := strconv.Atoi(string(fields[2]))
	return stat{fields[0][0], parent, group}, err == nil && err2 == nil
}

// carries reports whether a process has mark in its environment. Every environment
// has an empty line, so that an empty mark is nobody's.
func carries(pid int, mark []byte) bool {
	if len(mark) == 0 {
		return false
	}
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true
		}
	}
	return false
}
