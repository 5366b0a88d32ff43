package nbd

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestBreadth follows what a server says of processors while clients come, start requests,
// wait for some, and go. The test ticks by itself.
func TestBreadth(t *testing.T) {
	var said []int
	b := breadth{set: func(n int) { said = append(said, n) }}
	b.timer = time.AfterFunc(time.Hour, func() {})
	defer b.timer.Stop()
	requests := func(started, others int) {
		for range started {
			b.begun()
		}
		for range others {
			b.carriedOut()
		}
		b.tick()
		b.timer.Reset(time.Hour)
	}
	for _, step := range []struct {
		name string
		do   func()
		want []int // what is said
	}{
		{"a client comes", func() { b.connected(1) }, nil},
		{"it waits for requests", func() { requests(0, 100) }, nil},
		{"some are started", func() { requests(100, 100) }, nil},
		{"all are started", func() { requests(100, 0) }, []int{1}},
		{"nearly all are", func() { requests(1000, 100) }, nil},
		{"another comes", func() { b.connected(1) }, []int{2}},
		{"many are waited for", func() { requests(100, 50) }, []int{AllProcessors}},
		{"all are started again", func() { requests(100, 0) }, []int{2}},
		{"nothing happens", func() { requests(0, 0) }, []int{AllProcessors}},
		{"all are started once more", func() { requests(100, 0) }, []int{2}},
		{"one goes", func() { b.connected(-1) }, []int{1}},
		{"the last goes", func() { b.connected(-1) }, []int{AllProcessors}},
		{"it ticks once more", func() { requests(100, 0) }, nil},
	} {
		said = nil
		step.do()
		if !slices.Equal(said, step.want) {
			t.Errorf("%s: %v is said, want %v", step.name, said, step.want)
		}
	}
}

// TestBreadthTicksWhileRequestsAreStarted: an idle server has no timer. The test ticks by
// itself.
func TestBreadthTicksWhileRequestsAreStarted(t *testing.T) {
	b := breadth{set: func(int) {}}
	b.timer = time.AfterFunc(time.Hour, func() {})
	defer b.timer.Stop()
	b.connected(1)
	b.carriedOut()
	if b.ticking {
		t.Error("it ticks for requests that are waited for")
	}
	b.begun()
	if !b.ticking {
		t.Error("it does not tick")
	}
	b.tick()
	if !b.ticking {
		t.Error("it has stopped while requests are started")
	}
	b.tick()
	if b.ticking {
		t.Error("it ticks on without requests")
	}
}

// TestServerWithStartedRequestsSaysOne sends requests that are all started until the server says
// that one processor is enough for their connection. All are used again when it has ended.
func TestServerWithStartedRequestsSaysOne(t *testing.T) {
	const batch = 32
	said := make(chan int, 1<<16)
	d := &starting{ram: newRAM(batch * ramBlock), eager: true}
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}, Processors: func(n int) { said <- n }})
	c := dial(t, path)
	c.choose("a", false)
	var out []byte
	for i := range uint64(batch) {
		out = appendRequest(out, nbdproto.CmdRead, i, ramBlock)
	}
	n := AllProcessors
	for n != 1 {
		c.put(out)
		c.get(batch * (nbdproto.SimpleReplySize + ramBlock))
		select {
		case n = <-said:
		default:
		}
	}
	c.nc.Close()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for len(said) > 0 {
		n = <-said
	}
	if n != AllProcessors {
		t.Errorf("%d processors are said to be enough for no connection", n)
	}
}

// TestGoProcessors sets Go's scheduler, to no more than there were.
func TestGoProcessors(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(all)
	set := GoProcessors()
	for _, c := range [][2]int{{1, 1}, {all + 5, all}, {1, 1}, {AllProcessors, all}} {
		if set(c[0]); runtime.GOMAXPROCS(0) != c[1] {
			t.Errorf("%d: %d processors", c[0], runtime.GOMAXPROCS(0))
		}
	}
}
