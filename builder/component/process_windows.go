package component

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// processTree is a program with all that it starts: a job object, which no
// process leaves by itself, whoever its parent is. What msiexec asks the Windows
// Installer service to do is done by that service and not part of it.
type processTree struct{ job windows.Handle }

func newProcessTree(string) (*processTree, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a job object: %w", err)
	}
	return &processTree{job}, nil
}

// attributes starts the program suspended: nothing that it starts may escape.
func (*processTree) attributes(line string) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CmdLine: line, CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_SUSPENDED}
}

// adopt puts the program into the job and lets it go.
func (t *processTree) adopt(root *os.Process) error {
	var err error
	handled := root.WithHandle(func(handle uintptr) {
		err = windows.AssignProcessToJobObject(t.job, windows.Handle(handle))
	})
	if handled != nil {
		err = handled
	}
	if err != nil {
		return fmt.Errorf("put process %d into its job object: %w", root.Pid, err)
	}
	if err := resume(uint32(root.Pid)); err != nil {
		return fmt.Errorf("let process %d run: %w", root.Pid, err)
	}
	return nil
}

// resume lets the one thread of a process that was started suspended run. Only
// the list of all threads tells which one that is.
func resume(pid uint32) error {
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer closeHandle(all)
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(all, &entry); err == nil; err = windows.Thread32Next(all, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		defer closeHandle(thread)
		_, err = windows.ResumeThread(thread)
		return err
	}
	return err
}

// kill ends all of it and waits until it is gone, or patience is over. root is
// nil when that one is gone.
func (t *processTree) kill(root *os.Process) {
	// What is gone already is what is wanted.
	_ = windows.TerminateJobObject(t.job, 1)
	if root != nil {
		_ = root.Kill() // it may not be in the job yet
	}
	pause := time.Millisecond
	for deadline := time.Now().Add(killPatience); t.active() > 0 && time.Now().Before(deadline); {
		// Nothing but a completion port announces the death of somebody else's child.
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// active is how many processes of the job live.
func (t *processTree) active() uint32 {
	// JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
	var info struct {
		TotalUserTime, TotalKernelTime, PeriodUserTime, PeriodKernelTime int64
		PageFaults, Processes, ActiveProcesses, Terminated               uint32
	}
	err := windows.QueryInformationJobObject(t.job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return 0
	}
	return info.ActiveProcesses
}

// release forgets the job; what still runs in it goes on.
func (t *processTree) release() { closeHandle(t.job) }

// signalOf: there are no signals.
func signalOf(*os.ProcessState) int { return 0 }

func closeHandle(h windows.Handle) {
	// Only a handle that is not one cannot be closed.
	_ = windows.CloseHandle(h)
}
