package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
	"golang.org/x/sys/unix"
)

// hostWay is a way in which fio makes requests.
type hostWay struct {
	name    string
	engine  string
	batches bool   // a quarter of the depth is submitted and awaited at a time
	fewer   bool   // an eighth of the depth is in flight, which suits devices better if requests are large
	jobs    int    // processes; 0: one
	layout  string // of a new file, as fio calls it: "none", "truncate" (holes), "native" (storage set aside)
}

// hostSample is what the host did alone in a round.
type hostSample struct {
	rate float64 // requests per second
	cpu  float64 // microseconds per request
}

// hostRuns measure the host alone beside a row: the row's requests, made by fio to a raw
// file, with no server, no client and no image format in between. It is what
// no server does better with the same transfers, as far as fio shows it: the rate is that of
// fio's fastest way, the CPU time that of the way which takes the least, each found by a probe.
//
// As with servers, the rate is that of the requests, and the CPU time includes the flush of
// what they left behind; where they do, it takes another run. The CPU time is fio's own account of its jobs
// (getrusage around them), as the start of fio alone costs more than many a run. It is in
// whole milliseconds, rounded down, and has fio's own work in it, some tenths of a microsecond
// per request. It lacks what the kernel's own threads do, so that only ways are used in which
// they carry out no requests: no io_uring where blocks are allocated.
type hostRuns struct {
	s          *sides
	job        fioJob
	fast, lean hostWay
}

// rawSize is that of the raw files which are overwritten and read, in bytes: as much as the
// images have.
const rawSize = gib

const (
	hostTime = 0.25 // of a run, in seconds: fio takes nearly as long to start
	leaner   = 0.95
)

// hostWays are the ways that are tried for a row.
func hostWays(r *nbdRow) []hostWay {
	psync := func(layout string) hostWay { return hostWay{name: "psync, " + layout, engine: "psync", layout: layout} }
	plain := func(engine, layout string) hostWay {
		return hostWay{name: engine + ", " + layout, engine: engine, layout: layout}
	}
	batches := func(engine, layout string) hostWay {
		return hostWay{name: engine + " in batches, " + layout, engine: engine, layout: layout, batches: true}
	}
	switch {
	case r.fresh && r.direct && r.depth > 1:
		return []hostWay{plain("libaio", "truncate"), batches("libaio", "truncate"), plain("libaio", "native"), batches("libaio", "native")}
	case r.fresh && r.direct:
		return []hostWay{psync("truncate"), psync("native")}
	case r.fresh:
		return []hostWay{psync("none"), psync("truncate"), psync("native")}
	case r.direct && r.depth > 1:
		fewer := hostWay{name: "io_uring, fewer in flight", engine: "io_uring", layout: "none", fewer: true}
		return []hostWay{plain("io_uring", "none"), batches("io_uring", "none"), batches("libaio", "none"), fewer}
	case r.direct:
		return []hostWay{psync("none"), plain("io_uring", "none")}
	case r.depth > 1 && !r.writes(): // writes to one file exclude each other
		many := hostWay{name: "psync by all processors", engine: "psync", layout: "none", jobs: min(r.depth, runtime.NumCPU())}
		return []hostWay{psync("none"), many}
	}
	return []hostWay{psync("none")}
}

func (r *nbdRow) writes() bool { return r.command == nbdproto.CmdWrite }

// probeHost tries each way of a row whose number of requests is known. The result is nil if
// the row has no equivalent, or fio is not there.
func (s *sides) probeHost(r *nbdRow) (*hostRuns, error) {
	if !r.raw && !r.tables || s.fio == "" {
		return nil, nil
	}
	h := &hostRuns{s: s, job: fioJob{file: "host.new", fileSize: int64(r.count) * r.step, write: r.writes(),
		direct: r.direct, count: r.count, depth: r.depth, size: r.size, step: r.step, holes: r.fresh}}
	var err error
	switch {
	case r.tables:
		err = h.useLike(r.image)
	case !r.fresh:
		err = h.useRaw()
	}
	if err != nil {
		return nil, err
	}
	if !h.leaves() { // half of a run tells ways apart
		h.job.count = max(leastRun*r.depth, h.job.count/2)
	}
	var tried []hostWay
	var samples []hostSample
	var failed error
	for _, w := range hostWays(r) {
		one, err := h.measure(w, w)
		if err != nil { // an engine that is not there
			failed = errors.Join(failed, err)
			continue
		}
		tried, samples = append(tried, w), append(samples, one)
	}
	if tried == nil {
		return nil, failed
	}
	fast, lean := choose(samples)
	h.fast, h.lean = tried[fast], tried[lean]
	// The flush is shared by as many requests as with servers. Nothing else depends on their
	// number.
	if !h.leaves() {
		h.job.count = max(leastRun*r.depth, int(samples[fast].rate*hostTime))
	}
	return h, nil
}

// choose returns the numbers of the fastest way and of the one that takes the least CPU time,
// which is the fastest one if another saves less than what a probe can tell.
func choose(samples []hostSample) (fast, lean int) {
	for i, one := range samples {
		if one.rate > samples[fast].rate {
			fast = i
		}
	}
	lean = fast
	for i, one := range samples {
		if one.cpu < samples[lean].cpu && one.cpu < leaner*samples[fast].cpu {
			lean = i
		}
	}
	return fast, lean
}

// leaves reports whether requests leave something behind for a flush: data in the page cache,
// or new blocks in the journal.
func (h *hostRuns) leaves() bool { return h.job.write && (h.job.holes || !h.job.direct) }

// useRaw has a raw file be there, and in the page cache. The cache keeps a file in pieces of
// the size in which it was written, and a small write to a large piece costs several times
// as much: there is a file for each size of requests, written so.
func (h *hostRuns) useRaw() error {
	h.job.file, h.job.fileSize = fmt.Sprintf("host-%d.raw", h.job.size), h.s.rawSize
	whole := fioJob{file: h.job.file, fileSize: h.s.rawSize, count: int(h.s.rawSize / h.job.size), size: h.job.size, step: h.job.size,
		way: hostWay{engine: "psync", layout: "none"}}
	_, err := os.Stat(filepath.Join(h.s.dir, h.job.file))
	if errors.Is(err, os.ErrNotExist) {
		whole.write, whole.flush = true, true
		_, err = h.s.runFio(&whole)
		return err
	}
	if err == nil && !h.job.direct {
		_, err = h.s.runFio(&whole)
	}
	return err
}

// useLike has a raw file be there that takes as much of the disk as an image does, so that
// scattered reads meet as much of it.
func (h *hostRuns) useLike(i image) error {
	file, err := h.s.file(i)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	const unit = 512 // of Stat_t.Blocks
	h.job.file, h.job.fileSize = "host-"+i.name+".raw", max(st.Blocks*unit/mib, 1)*mib
	if _, err := os.Stat(filepath.Join(h.s.dir, h.job.file)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	whole := fioJob{file: h.job.file, fileSize: h.job.fileSize, count: int(h.job.fileSize / mib), size: mib, step: mib,
		write: true, direct: h.job.direct, flush: true, way: hostWay{engine: "psync", layout: "none"}}
	_, err = h.s.runFio(&whole)
	return err
}

// measure takes the rate of one way and the CPU time of another.
func (h *hostRuns) measure(fast, lean hostWay) (hostSample, error) {
	one, err := h.run(fast, false)
	if err != nil {
		return hostSample{}, err
	}
	other := one
	if h.leaves() || lean.name != fast.name {
		if other, err = h.run(lean, h.leaves()); err != nil {
			return hostSample{}, err
		}
	}
	return hostSample{one.rate, float64(other.cpu) / float64(time.Microsecond) / float64(other.requests)}, nil
}

// run runs fio once, and leaves nothing for the next run to write out or to find.
func (h *hostRuns) run(w hostWay, flush bool) (fioResult, error) {
	j := h.job
	j.way, j.flush = w, flush
	one, err := h.s.runFio(&j)
	file := filepath.Join(h.s.dir, j.file)
	switch {
	case j.holes:
		err = errors.Join(err, removeIfThere(file))
	case h.leaves() && !flush && err == nil:
		err = h.s.tool("sync", "-d", file)
	}
	return one, err
}
