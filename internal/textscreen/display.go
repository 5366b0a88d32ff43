package textscreen

import (
	"context"
	"io"
	"sync"
	"time"
)

// Machine is whose screen and keyboard these are.
type Machine interface {
	// Screen stores in s what is on the screen now. It reuses the cells.
	Screen(s *Screen)
	// Key presses or releases a key. It reports false if the keyboard has no room
	// for it at the moment.
	Key(e Event) bool
}

// How often the screen is looked at while it changes, and after a second without
// a change: what a person takes for at once, and what costs nothing.
const (
	busyPeriod = 33 * time.Millisecond
	idlePeriod = 150 * time.Millisecond
	busyTime   = time.Second
)

// Times of the keyboard.
const (
	// escapeTime is how long the rest of an escape sequence may take.
	escapeTime = 50 * time.Millisecond
	// fullPeriod is how long to wait where the keyboard has no room, fullLimit when
	// to believe that nobody will ever read it.
	fullPeriod = 5 * time.Millisecond
	fullLimit  = 3 * time.Second
)

// Display connects a machine's screen and keyboard to a terminal.
type Display struct {
	out    io.Writer
	cancel context.CancelFunc
	poke   chan struct{} // a key was pressed: look at the screen soon
	loops  sync.WaitGroup
	err    error // of out; set before loops are done
}

// Start shows the machine's screen on out and passes on the keys of in, until
// Close. in may be nil. A read from in that is under way at Close is not waited
// for; what it brings is lost.
func Start(m Machine, in io.Reader, out io.Writer) *Display {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Display{out: out, cancel: cancel, poke: make(chan struct{}, 1)}
	d.loops.Go(func() { d.show(ctx, m) })
	if in != nil {
		chunks := make(chan []byte)
		go read(ctx, in, chunks)
		d.loops.Go(func() { d.typeKeys(ctx, m, chunks) })
	}
	return d
}

// Close draws the last screen and leaves the terminal in order. The machine must
// still be there.
func (d *Display) Close() error {
	d.cancel()
	d.loops.Wait()
	return d.err
}

// show draws until ctx ends.
func (d *Display) show(ctx context.Context, m Machine) {
	var r Renderer
	var s Screen
	var buf []byte
	changed := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-d.poke:
			changed = time.Now()
		case <-timer.C:
		}
		m.Screen(&s)
		buf = r.Draw(buf[:0], &s)
		if len(buf) > 0 {
			changed = time.Now()
			if _, d.err = d.out.Write(buf); d.err != nil {
				return
			}
		}
		period := idlePeriod
		if time.Since(changed) < busyTime {
			period = busyPeriod
		}
		timer.Reset(period)
	}
	_, d.err = d.out.Write(r.End(buf[:0]))
}

// read passes on what is typed until ctx or the input ends.
func read(ctx context.Context, in io.Reader, chunks chan<- []byte) {
	defer close(chunks)
	for {
		buf := make([]byte, 512)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case chunks <- buf[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// typeKeys presses keys until ctx or the input ends.
func (d *Display) typeKeys(ctx context.Context, m Machine, chunks <-chan []byte) {
	var decoder Decoder
	var events []Event
	for {
		var late <-chan time.Time
		if decoder.Pending() {
			late = time.After(escapeTime)
		}
		select {
		case <-ctx.Done():
			return
		case <-late:
			events = decoder.Flush(events[:0])
		case chunk, ok := <-chunks:
			if !ok {
				return
			}
			events = decoder.Decode(events[:0], chunk)
		}
		for _, e := range events {
			if !press(ctx, m, e) {
				break // nobody listens
			}
		}
		select {
		case d.poke <- struct{}{}:
		default:
		}
	}
}

// press waits until the keyboard has room for an event, but not for ever.
func press(ctx context.Context, m Machine, e Event) bool {
	for begun := time.Now(); !m.Key(e); {
		if time.Since(begun) > fullLimit {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(fullPeriod):
		}
	}
	return true
}
