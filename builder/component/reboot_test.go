package component

import "testing"

// Traps 2 and 3: 194 runs the step again, its condition is not looked at again, and no attempt is used up.
func TestTrap02Exit194RunsTheStepAgain(t *testing.T) {
	b := newBench(t, oneStep(bash("First", "echo first | tee -a firsts")+
		bash("Again", `echo again {{ loop.value }} {{ build.First.outputs.stdout }}
[ -e "done{{ loop.value }}" ] && exit 0
touch "done{{ loop.value }}" second; exit 194`, "if: {not: {fileExists: second}}\nloop: {forEach: [a, b]}")+
		bash("Last", "echo '{{ build.Again.outputs.stdout }}'")))
	for reboots := 1; reboots <= 2; reboots++ {
		r := b.run()
		if !r.Reboot || r.Status != "" {
			t.Fatalf("result %d: %+v", reboots, r)
		}
		if pending, err := Pending(b.job, b.env); !pending || err != nil {
			t.Fatalf("Pending: %v, %v", pending, err)
		}
	}
	r := b.ok()
	if want := "first\nagain a first\nagain a first\nagain b first\nagain b first\nagain a first\nagain b first\n"; b.printed() != want {
		t.Errorf("printed:\n%s", b.printed())
	}
	if got := b.steps(r); got != "doc1/build/First=success doc1/build/Again=success doc1/build/Last=success" || r.Documents[0].Steps[1].Attempts != 1 {
		t.Errorf("steps: %s %+v", got, r.Documents[0].Steps[1])
	}
	if pending, err := Pending(b.job, b.env); pending || err != nil {
		t.Errorf("Pending after the end: %v, %v", pending, err)
	}
	starts := 0
	for _, e := range b.events {
		if e.Kind == StepStarted && e.Step == "Again" {
			starts++
		}
	}
	if starts != 1 {
		t.Errorf("the step was announced %d times", starts)
	}
}

// Trap 2: Reboot goes on with the next step.
func TestTrap02RebootGoesOnWithTheNextStep(t *testing.T) {
	b := newBench(t, document(inPhase("build", bash("A", "echo a"), "- {name: R, action: Reboot}\n", bash("B", "echo {{ build.A.outputs.stdout }}b")), inPhase("validate", bash("C", "echo c"))), oneStep("- {name: R, action: Reboot, inputs: {delaySeconds: 0}}\n"+bash("D", "echo d")))
	for range 2 {
		if r := b.run(); !r.Reboot {
			t.Fatalf("no reboot: %+v", r)
		}
	}
	b.prints("a\nab\nc\nd\n")
}

// Every iteration of a loop restarts the machine, and the loop goes on after each.
func TestARebootInALoopGoesOnWithTheNextIteration(t *testing.T) {
	b := newBench(t, oneStep("- {name: R, action: Reboot, loop: {forEach: [a, b, c]}}\n"+bash("A", "echo a")))
	for range 3 {
		if r := b.run(); !r.Reboot || b.printed() != "" {
			t.Fatalf("no reboot: %+v, printed %q", r, b.printed())
		}
	}
	b.prints("a\n")
}

func TestAStepThatAlwaysWantsRebootsFails(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "exit 194")))
	for range maxReboots {
		if r := b.run(); !r.Reboot {
			t.Fatalf("no reboot: %+v", r)
		}
	}
	b.fails("asked for a reboot 10 times")
}

// A failure before the reboot is still the run's failure after it.
func TestFailureSurvivesAReboot(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "exit 1", "onFailure: Continue")+"- {name: R, action: Reboot}\n"+bash("B", ":")))
	b.run()
	if r := b.fails("exit status 1"); r.Failure.Step != "A" {
		t.Errorf("failure: %+v", r.Failure)
	}
}

func TestAnotherJobDoesNotResume(t *testing.T) {
	b := newBench(t, oneStep(bash("A", "echo a")+"- {name: R, action: Reboot}\n"))
	b.run()
	b.job.Documents[0].Text = oneStep(bash("B", "echo b"))
	b.events = nil
	b.prints("b\n")
}
