package main

import (
	"strings"
	"testing"
	"time"
)

// TestVerdicts says what was missed, and what of it the host itself does not reach.
func TestVerdicts(t *testing.T) {
	us := time.Microsecond
	side := func(rate float64, cpu time.Duration) []sample {
		return []sample{{seconds: 1000 / rate, cpu: 1000 * cpu, peak: 10 * mib}}
	}
	for _, tt := range []struct {
		name         string
		ours, theirs []sample
		goal         goal
		host         []hostSample
		want         string
		beyond       bool
	}{
		{"met", side(200, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{300, 1}}, "yes", false},
		{"met, though fio does less", side(200, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{150, 5}}, "yes", false},
		{"no host", side(150, 5*us), side(100, 10*us), goal{2, 0.4}, nil, "no: rate, CPU", false},
		{"the host does it", side(150, 5*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{300, 1}}, "no: rate, CPU", false},
		{"just so", side(150, 5*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{200, 4}}, "no: rate, CPU", false},
		{"too fast a goal", side(150, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{160, 1}}, "no: rate (host 0.80 of it)", true},
		{"too lean a goal", side(250, 6*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{300, 5}}, "no: CPU (host 1.25 of it)", true},
		{"one of both", side(150, 6*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{300, 5}}, "no: rate, CPU (host 1.25 of it)", true},
		{"both", side(150, 6*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{160, 5}}, "no: rate (host 0.80 of it), CPU (host 1.25 of it)", true},
		{"any CPU time", side(150, 60*us), side(100, 10*us), goal{ratio: 2}, []hostSample{{300, 50}}, "no: rate", false},
		{"a server outruns fio", side(150, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{140, 1}}, "no: rate", false},
		{"a server needs less than fio", side(250, 5*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{300, 5.5}}, "no: CPU", false},
		{"QEMU outruns fio", side(80, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{90, 1}}, "no: rate", false},
		{"as fast as fio", side(150, 4*us), side(100, 10*us), goal{2, 0.4}, []hostSample{{149, 1}}, "no: rate (host 0.75 of it)", true},
	} {
		c := comparison{count: 1000, goal: tt.goal, ways: []way{ours, {name: "threads"}}, samples: [][]sample{tt.ours, tt.theirs}, host: tt.host}
		if verdict, beyond := c.verdict(1); verdict != tt.want || beyond != tt.beyond {
			t.Errorf("%s: %q, %v, want %q, %v", tt.name, verdict, beyond, tt.want, tt.beyond)
		}
	}
}

// TestHostColumns has the medians of what the host did, and what it did of the goals beside
// the rounds of QEMU's: a round that was slow as a whole does not count.
func TestHostColumns(t *testing.T) {
	one := func(seconds float64) sample {
		return sample{seconds: seconds, cpu: 20 * time.Millisecond, peak: 10 * mib}
	}
	c := comparison{count: 1000, goal: goal{2, 0.5}, ways: []way{ours, {name: "native"}}, samples: [][]sample{
		{one(1), one(2), one(1)},
		{one(1), one(4), one(1)},
	}}
	if got := strings.Fields(c.line("name")); strings.Join(got[10:], " ") != "- - 2.00/0.50 no: rate, CPU" {
		t.Errorf("%q", got)
	}
	c.host = []hostSample{{1600, 12}, {400, 9}, {1600, 12}}
	got := strings.Join(strings.Fields(c.line("name")), " ")
	const want = "name 1000 1000 (native) 1.00 20.0 20.0 1.00 10 10 1600 12.0 2.00/0.50 no: rate (host 0.80 of it), CPU (host 1.20 of it)"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLinesAlign has each column under its name, in rows with the longest of names, too.
func TestLinesAlign(t *testing.T) {
	one := []sample{{seconds: 1, cpu: time.Millisecond, peak: mib}}
	c := comparison{count: 1000, goal: ahead, ways: []way{ours, {name: "io_uring"}}, samples: [][]sample{one, one}, host: []hostSample{{1, 1}}}
	at := strings.Index(header, "goal")
	for _, r := range nbdRows() {
		line := c.line(r.name)
		if !strings.HasPrefix(line[at:], "1.01/-") || strings.Index(line, "no: rate") != strings.Index(header, "met") {
			t.Errorf("%s\n%s", header, line)
		}
	}
}

// TestSummary counts what was missed, and what of it the host can't do.
func TestSummary(t *testing.T) {
	line := func(rate, host float64) *comparison {
		return &comparison{count: 1000, goal: goal{ratio: 2}, ways: []way{ours, {name: "threads"}},
			samples: [][]sample{{{seconds: 1000 / rate}}, {{seconds: 10}}}, host: []hostSample{{rate: host}}}
	}
	s := sides{fio: "fio"}
	for _, c := range []*comparison{line(200, 300), line(150, 300), line(150, 160), line(200, 160)} {
		s.count(c)
	}
	if got, want := s.summary(61*time.Second), "2 of 4 goals met, in 1m1s; 1 of the 2 missed are beyond what the host does alone"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s.fio = ""
	if got, want := s.summary(time.Second), "2 of 4 goals met, in 1s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestChoose takes another way for the CPU time only if it is clearly the leaner one.
func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		samples    []hostSample
		fast, lean int
	}{
		{[]hostSample{{100, 5}}, 0, 0},
		{[]hostSample{{100, 5}, {200, 9}, {150, 2}}, 1, 2},
		{[]hostSample{{100, 4.9}, {200, 5}}, 1, 1},
		{[]hostSample{{100, 2}, {200, 1}}, 1, 1},
	} {
		if fast, lean := choose(tt.samples); fast != tt.fast || lean != tt.lean {
			t.Errorf("%v: %d, %d", tt.samples, fast, lean)
		}
	}
}

// TestTransfersAreCounted has as many transfers of a request as the side took that needed less
// of them, in the last round.
func TestTransfersAreCounted(t *testing.T) {
	side := func(read ...int64) []sample {
		var list []sample
		for _, n := range read {
			list = append(list, sample{read: n})
		}
		return list
	}
	c := comparison{count: 100, samples: [][]sample{side(0, 190*4*kib), side(0, 200*4*kib)}}
	if got := c.transfers(4 * kib); got != 1.9 {
		t.Errorf("%v", got)
	}
	c.samples[1] = side(200*4*kib, 0)
	if got := c.transfers(4 * kib); got != 0 {
		t.Errorf("%v of what was in memory", got)
	}
}
