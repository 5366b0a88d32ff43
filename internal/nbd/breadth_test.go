package nbd

import (
	"runtime"
	"slices"
	"testing"
	"time"
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
