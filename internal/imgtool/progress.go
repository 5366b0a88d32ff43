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
	total  int64
	notify chan os.Signal
	done   chan struct{}

	mu    sync.Mutex
	at    int64   // guarded by mu
	shown float64 // the last percentage shown
}

// newProgress starts a progress line; end ends it.
func (t *Tool) newProgress(live bool, total int64) *progress {
	p := &progress{out: t.Stdout, live: live, total: total, done: make(chan struct{})}
	if live {
		p.show(0)
		return p
	}
	p.notify = make(chan os.Signal, 1)
	signal.Notify(p.notify, syscall.SIGUSR1)
	go func() {
		for {
			select {
			case <-p.notify:
				p.mu.Lock()
				fmt.Fprintf(t.Stderr, "    (%3.2f/100%%)\n", p.percent())
				p.mu.Unlock()
			case <-p.done:
				return
			}
		}
	}()
	return p
}

// percent is how much is done. Preconditions: mu is held.
func (p *progress) percent() float64 {
	if p.total == 0 {
		return 100
	}
	return float64(p.at) * 100 / float64(p.total)
}

// step is the change in percent up to which nothing is shown, but for the end.
const step = 1

// set says how much is done.
func (p *progress) set(at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = at
	if v := p.percent(); p.live && (v > p.shown+step || v == 100) {
		p.shown = v
		p.show(v)
	}
}

// show prints the line, at once.
func (p *progress) show(percent float64) {
	fmt.Fprintf(p.out, "    (%3.2f/100%%)\r", percent)
	flush(p.out)
}

// flush writes what w holds back, if it does that.
func flush(w io.Writer) {
	if f, ok := w.(interface{ Flush() error }); ok {
		_ = f.Flush() // the writer keeps its error
	}
}

// engine is set as qcow2's functions call it, whose total is their own.
func (p *progress) engine(done, total int64) {
	p.mu.Lock()
	p.total = total
	p.mu.Unlock()
	p.set(done)
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
