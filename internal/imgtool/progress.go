package imgtool

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// progress is the line that -p shows, and SIGUSR1 without it.
type progress struct {
	out    io.Writer
	live   bool
	step   float32 // the change in percent up to which nothing is shown, but for 0 and the end
	notify chan os.Signal
	done   chan struct{}

	mu    sync.Mutex
	at    float32 // how much is done, in percent; guarded by mu
	shown float32 // how much was shown last
}

// newProgress starts a progress line, which shows nothing yet; end ends it. step is the change
// in percent up to which nothing is shown, as it differs from command to command.
func (t *Tool) newProgress(live bool, step float32) *progress {
	p := &progress{out: t.Stdout, live: live, step: step, done: make(chan struct{})}
	if live {
		return p
	}
	p.notify = make(chan os.Signal, 1)
	signal.Notify(p.notify, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-p.notify:
				p.mu.Lock()
				fmt.Fprintf(t.Stderr, "    (%3.2f/100%%)\n", p.at)
				p.mu.Unlock()
			case <-p.done:
				return
			}
		}
	}()
	return p
}

// set says how much is done, out of total.
func (p *progress) set(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reach(percent(done, total))
}

// add says how much more is done.
func (p *progress) add(n, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reach(p.at + percent(n, total))
}

// percent is in single precision as that of qemu-img, whose roundings show.
func percent(done, total int64) float32 {
	if total == 0 {
		return 100
	}
	return float32(done) / float32(total) * 100
}

// reach shows how much is done, if that is to be shown. Preconditions: mu is held.
func (p *progress) reach(percent float32) {
	p.at = min(percent, 100)
	if v := p.at; p.live && (v > p.shown+p.step || v < p.shown-p.step || v == 100 || v == 0) {
		p.shown = v
		p.show(v)
	}
}

// show prints the line, at once.
func (p *progress) show(percent float32) {
	fmt.Fprintf(p.out, "    (%3.2f/100%%)\r", percent)
	flush(p.out)
}

// flush writes what w holds back, if it does that.
func flush(w io.Writer) {
	if f, ok := w.(interface{ Flush() error }); ok {
		_ = f.Flush() // the writer keeps its error
	}
}

// end finishes the line.
func (p *progress) end() {
	if p.live {
		fmt.Fprintln(p.out)
		return
	}
	signal.Stop(p.notify)
	close(p.done)
}
