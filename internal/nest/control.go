package nest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// heartbeat is how often the nest gets a message that means nothing. As it ends
// the emulated execution of a guest, QEMU 7.2 changes its word of pending
// interrupts without a lock, and an interrupt that is raised at that moment is
// forgotten until the next one. If it was the timer's, the kernel of the nest
// waits, with nothing to wake it, for as long as no device interrupts: this one
// does, and the nest passes it on to its other processors.
const heartbeat = 100 * time.Millisecond

// A nest whose kernel has died takes no message, answers none and does not end. So every
// so many heartbeats it is asked for an answer. How long one may take is counted in
// heartbeats as well, so that the time does not count in which this process stood still,
// too. It is generous: on a host that is busy the nest has little of a processor.
const (
	askEvery    = 50   // heartbeats: 5 s
	silenceMost = 600  // heartbeats: a minute
	bootMost    = 3000 // heartbeats until the first answer: five minutes
)

// errDead is that the nest does not answer.
var errDead = errors.New("the nest does not answer any more")

// talk is the dialogue with the nest while a command runs. It never waits for the
// nest to take a message.
type talk struct {
	control net.Conn
	beats   <-chan time.Time
	signals <-chan os.Signal
	stop    int             // the signal that tells the command to stop
	abort   <-chan struct{} // closed when it is to end at once
	exited  <-chan struct{} // closed when the machine is gone
	drain   func()          // waits until all streams have ended
}

// run sends the command, and everything from then on until the nest has sent
// the result and the streams have ended. It ends with an error, too, when the
// machine has ended.
func (t *talk) run(ctx context.Context, s start) (reply, error) {
	out := make(chan request)
	defer close(out)
	go t.write(out)
	answers, result := make(chan struct{}), make(chan reply, 1)
	broken := make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go t.read(answers, result, broken, done)

	queue := []request{{Start: &s}}
	stop := ctx.Done()
	var timeout <-chan time.Time
	silent, most := 0, bootMost
	for {
		var next request
		var send chan<- request
		if len(queue) > 0 {
			next, send = queue[0], out
		}
		select {
		case send <- next:
			queue = queue[1:]
		case <-answers:
			silent, most = 0, silenceMost
		case r := <-result:
			return r, nil
		case <-t.abort:
			return reply{}, ErrAborted
		case <-t.exited:
			return reply{}, errExited
		case err := <-broken:
			return reply{}, fmt.Errorf("lost the connection: %w", err)
		case sig := <-t.signals:
			if n, ok := sig.(syscall.Signal); ok {
				queue = append(queue, request{Signal: int(n)})
			}
		case <-t.beats:
			if silent++; silent > most {
				return reply{}, fmt.Errorf("%w: nothing came for %v", errDead, time.Duration(silent)*heartbeat)
			}
			if len(queue) == 0 { // or the nest takes none
				queue = append(queue, request{Ask: silent%askEvery == 0})
			}
		case <-stop:
			stop, timeout = nil, time.After(StopTimeout)
			queue = append(queue, request{Signal: t.stop})
		case <-timeout:
			return reply{}, fmt.Errorf("the command was told to stop and had not after %v: %w", StopTimeout, context.Cause(ctx))
		}
	}
}

// ErrAborted is the error of Run after Command.Abort.
var ErrAborted = errors.New("nest: the machine was ended")

// errExited is that the machine ended before the command did.
var errExited = errors.New("the machine has ended")

// write sends what comes. That it can't is for read to notice.
func (t *talk) write(out <-chan request) {
	requests := json.NewEncoder(t.control)
	for r := range out {
		_ = requests.Encode(r)
	}
}

// read receives answers, and the result: that goes on when the streams have
// ended, until when there may be more answers.
func (t *talk) read(answers chan<- struct{}, result chan<- reply, broken chan<- error, done <-chan struct{}) {
	replies := json.NewDecoder(t.control)
	for ended := false; ; {
		var r reply
		switch err := replies.Decode(&r); {
		case err != nil:
			broken <- err
			return
		case r.Alive:
			select {
			case answers <- struct{}{}:
			case <-done:
				return
			}
		case ended: // there is one result
		case r.Error != "":
			result <- r // the nest may not have opened the streams
			return
		default:
			ended = true
			go func() {
				t.drain()
				result <- r
			}()
		}
	}
}
