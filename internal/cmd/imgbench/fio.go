package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// fioJob is one run of fio: requests to a raw file.
type fioJob struct {
	file     string // a name in the directory where fio runs: fio gives colons in paths a meaning
	fileSize int64
	write    bool
	direct   bool
	count    int   // requests
	depth    int   // of an engine that has one
	size     int64 // of a request, in bytes
	step     int64 // in bytes: size is in order, what is larger leaves holes or is anywhere
	holes    bool  // the requests are in order, with the rest of a step between them
	flush    bool  // fsync at the end
	way      hostWay
}

// args are fio's. Each request costs fio as little as it lets one choose: no clock per
// request, no map of the blocks that were done (its shift register meets each block once
// anyway), no new data per write. The file keeps what the page cache has of it.
func (j *fioJob) args() []string {
	rw := map[bool]string{false: "read", true: "write"}[j.write]
	switch {
	case j.holes:
		rw += fmt.Sprint(":", j.step-j.size)
	case j.step > j.size:
		rw = "rand" + rw
	}
	jobs := max(1, j.way.jobs)
	each := (j.count + jobs - 1) / jobs
	list := []string{"--name=host", "--output-format=json", "--group_reporting",
		"--gtod_reduce=1", "--clocksource=clock_gettime", "--norandommap", "--random_generator=lfsr",
		"--scramble_buffers=0", "--invalidate=0",
		"--filename=" + j.file, fmt.Sprint("--filesize=", j.fileSize), "--fallocate=" + j.way.layout,
		"--rw=" + rw, fmt.Sprint("--bs=", j.size), fmt.Sprint("--io_size=", int64(each)*j.size),
		fmt.Sprint("--numjobs=", jobs), "--ioengine=" + j.way.engine}
	if j.direct {
		list = append(list, "--direct=1")
	}
	if j.way.engine != "psync" {
		depth := j.depth
		if j.way.fewer {
			depth = max(1, depth/8)
		}
		list = append(list, fmt.Sprint("--iodepth=", depth))
	}
	if j.way.batches {
		part := max(1, j.depth/4)
		list = append(list, fmt.Sprint("--iodepth_batch_submit=", part), fmt.Sprint("--iodepth_batch_complete_min=", part),
			fmt.Sprint("--iodepth_batch_complete_max=", j.depth), fmt.Sprint("--iodepth_low=", j.depth-part))
	}
	if j.flush {
		list = append(list, "--end_fsync=1")
	}
	return list
}

// fioResult is what a run of fio did. The rate is that of the time until the last request
// was complete and, in a job with a flush, that was, too.
type fioResult struct {
	requests int64
	rate     float64       // requests per second
	cpu      time.Duration // of the threads that make the requests
}

// parseFio finds the result in what fio printed, which may begin with notes.
func parseFio(out []byte) (fioResult, error) {
	type side struct {
		Requests int64   `json:"total_ios"`
		Rate     float64 `json:"iops"`
	}
	var report struct {
		Jobs []struct {
			Error       int     `json:"error"`
			Runtime     float64 `json:"job_runtime"` // in milliseconds, of all processes together
			User        float64 `json:"usr_cpu"`     // in percent of that
			System      float64 `json:"sys_cpu"`
			Read, Write side
		}
	}
	begin := bytes.IndexByte(out, '{')
	if begin < 0 {
		return fioResult{}, fmt.Errorf("no result in %q", out)
	}
	if err := json.Unmarshal(out[begin:], &report); err != nil {
		return fioResult{}, fmt.Errorf("%w in %q", err, out)
	}
	if len(report.Jobs) != 1 {
		return fioResult{}, fmt.Errorf("%d results, not one", len(report.Jobs))
	}
	j := report.Jobs[0]
	one := fioResult{
		requests: j.Read.Requests + j.Write.Requests,
		rate:     j.Read.Rate + j.Write.Rate,
		cpu:      time.Duration((j.User + j.System) / 100 * j.Runtime * float64(time.Millisecond)),
	}
	switch {
	case j.Error != 0:
		return one, fmt.Errorf("error %d", j.Error)
	case one.requests == 0 || one.rate == 0:
		return one, errors.New("not a request was carried out")
	}
	return one, nil
}

// runFio runs a job where the images are. It has glibc ask for huge pages (its own tunable),
// as large requests with direct I/O to scattered pages are half as fast.
func (s *sides) runFio(j *fioJob) (fioResult, error) {
	cmd := exec.CommandContext(s.ctx, s.fio, j.args()...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GLIBC_TUNABLES=glibc.malloc.hugetlb=1")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return fioResult{}, fmt.Errorf("%q: %w: %s", cmd.Args, err, bytes.TrimSpace(complaint.Bytes()))
	}
	one, err := parseFio(out.Bytes())
	if err == nil && one.requests < int64(j.count) {
		err = fmt.Errorf("%d requests of %d", one.requests, j.count)
	}
	if err != nil {
		return one, fmt.Errorf("%q: %w", cmd.Args, err)
	}
	return one, nil
}
