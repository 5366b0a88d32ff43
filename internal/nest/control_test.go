package nest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// talking is a dialogue with a fake nest.
type talking struct {
	t        *testing.T
	nest     net.Conn // its end
	requests *json.Decoder
	beats    chan time.Time
	signals  chan os.Signal
	abort    chan struct{}
	drained  chan struct{}
	ended    chan error
	result   reply
}

func talkTo(t *testing.T) *talking {
	here, there := net.Pipe()
	x := &talking{t: t, nest: there, requests: json.NewDecoder(there), beats: make(chan time.Time), signals: make(chan os.Signal),
		abort: make(chan struct{}), drained: make(chan struct{}), ended: make(chan error, 1)}
	t.Cleanup(func() { here.Close(); there.Close() })
	go func() {
		talk := talk{control: here, beats: x.beats, signals: x.signals, abort: x.abort, exited: make(chan struct{}), drain: func() { <-x.drained }}
		var err error
		x.result, err = talk.run(t.Context(), start{Args: []string{Self}})
		x.ended <- err
		here.Close()
	}()
	return x
}

// beat has so many heartbeats pass that the nest does not take, or fewer if the dialogue ends.
func (x *talking) beat(n int) (err error, ended bool) {
	for range n {
		select {
		case x.beats <- time.Time{}:
		case err := <-x.ended:
			return err, true
		}
	}
	return nil, false
}

// request is what the nest is sent next.
func (x *talking) request() request {
	x.t.Helper()
	var r request
	if err := x.requests.Decode(&r); err != nil {
		x.t.Fatal(err)
	}
	return r
}

// untilAsked has heartbeats pass, which the nest takes, until it is asked.
func (x *talking) untilAsked() {
	x.t.Helper()
	for range 2 * askEvery {
		if err, ended := x.beat(1); ended {
			x.t.Fatal(err)
		}
		if x.request().Ask {
			return
		}
	}
	x.t.Fatal("the nest is not asked whether it is alive")
}

func (x *talking) send(r reply) {
	x.t.Helper()
	if err := json.NewEncoder(x.nest).Encode(r); err != nil {
		x.t.Fatal(err)
	}
}

// alive answers. Once the second answer is being read, the first was taken note of.
func (x *talking) alive() {
	x.t.Helper()
	x.send(reply{Alive: true})
	x.send(reply{Alive: true})
}

// A nest that takes nothing and says nothing, from the start or from a moment on, is waited for
// so long and no longer.
func TestDeadNestEndsTheRun(t *testing.T) {
	for _, answers := range []int{0, 3} {
		x := talkTo(t)
		most := bootMost
		if answers > 0 {
			x.request() // the start
			most = silenceMost
		}
		for range answers {
			x.untilAsked()
			x.alive()
		}
		if err, ended := x.beat(most - 1); ended {
			t.Errorf("%d answers: %v", answers, err)
			continue
		}
		// The second answer may have been taken note of later.
		if err, _ := x.beat(most); !errors.Is(err, errDead) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d answers, then none: %v", answers, err)
		}
	}
}

// A nest that gets little of a processor is alive if it answers at last.
func TestSlowNestIsNotDead(t *testing.T) {
	x := talkTo(t)
	x.request()
	for range 10 {
		x.untilAsked()
		for range silenceMost - 2*askEvery {
			if err, ended := x.beat(1); ended {
				t.Fatal(err)
			}
			x.request()
		}
		x.alive()
	}
}

// Whoever tells the command to stop need not wait until the nest takes that.
func TestSignalsToADeadNestAreTaken(t *testing.T) {
	x := talkTo(t)
	for range 20 {
		x.signals <- syscall.SIGTERM
	}
	for n := 0; n < 20; {
		if r := x.request(); r.Signal == int(syscall.SIGTERM) {
			n++
		}
	}
}

// A nest that does not take anything can be ended at once.
func TestDeadNestCanBeAborted(t *testing.T) {
	x := talkTo(t)
	x.signals <- syscall.SIGTERM
	close(x.abort)
	if err := <-x.ended; !errors.Is(err, ErrAborted) {
		t.Error(err)
	}
}

// The result is that of the command, however long its output takes afterwards; the nest still
// answers, and must.
func TestNestAnswersUntilStreamsHaveEnded(t *testing.T) {
	x := talkTo(t)
	x.request()
	x.send(reply{Exit: 42})
	for range 2 * bootMost / askEvery {
		x.untilAsked()
		x.alive()
	}
	close(x.drained)
	if err := <-x.ended; err != nil || x.result.Exit != 42 {
		t.Errorf("exit %d, %v", x.result.Exit, err)
	}
}

// The nest passes signals on, answers questions and nothing else, and stops when the host is gone.
func TestNestObeys(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	var got []syscall.Signal
	done := make(chan struct{})
	go func() {
		newHost(there).obey(func(s syscall.Signal) { got = append(got, s) })
		close(done)
	}()
	requests, replies := json.NewEncoder(here), json.NewDecoder(here)
	for _, r := range []request{{}, {Signal: 15}, {Ask: true}, {}, {Signal: 2}, {Ask: true}} {
		if err := requests.Encode(r); err != nil {
			t.Fatal(err)
		}
		if !r.Ask {
			continue
		}
		var answer reply
		if err := replies.Decode(&answer); err != nil || answer != (reply{Alive: true}) {
			t.Errorf("%+v, %v", answer, err)
		}
	}
	here.Close()
	<-done
	if len(got) != 2 || got[0] != syscall.SIGTERM || got[1] != syscall.SIGINT {
		t.Errorf("signals %v", got)
	}
}

// orphanEnv has the test below run a nest instead of testing: a directory for a file with QEMU's
// process id.
const orphanEnv = "GOVMM_TEST_NEST_ORPHAN"

// QEMU does not outlive whoever has started it, whatever ended that.
func TestQEMUDiesWithItsParent(t *testing.T) {
	const script = `echo $$ >"$` + orphanEnv + `/new"; mv "$` + orphanEnv + `/new" "$` + orphanEnv + `/pid"; exec sleep 600`
	if os.Getenv(orphanEnv) != "" {
		_, err := Run(context.Background(), fakeQEMU(t, script), Command{Args: []string{Self}})
		t.Fatalf("the nest has ended: %v", err)
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	parent.Env = append(os.Environ(), orphanEnv+"="+dir, "TMPDIR="+dir) // what it leaves goes with the test
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	deadline := time.Now().Add(5 * time.Minute)
	for ; pid == 0; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("QEMU was not started")
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for ; running(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("QEMU goes on")
		}
	}
}

// running reports whether there is a process that has not ended; one that nobody has waited for
// yet has (proc(5), /proc/pid/stat).
func running(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return after[0] != 'Z' && after[0] != 'X'
}
