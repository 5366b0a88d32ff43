package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestFioArgs has fio make the transfers of a row, by what costs it least.
func TestFioArgs(t *testing.T) {
	const common = "--name=host --output-format=json --group_reporting --gtod_reduce=1 --clocksource=clock_gettime --norandommap" +
		" --random_generator=lfsr --scramble_buffers=0 --invalidate=0 --filename=f "
	for _, tt := range []struct {
		name, want string
		job        fioJob
	}{
		{"reads in order", "--filesize=1048576 --fallocate=none --rw=read --bs=65536 --io_size=655360 --numjobs=1 --ioengine=psync",
			fioJob{fileSize: mib, count: 10, depth: 1, size: 64 * kib, step: 64 * kib, way: hostWay{engine: "psync", layout: "none"}}},
		{"scattered, by two processes", "--filesize=1048576 --fallocate=none --rw=randread --bs=4096 --io_size=24576 --numjobs=2 --ioengine=psync",
			fioJob{fileSize: mib, count: 11, depth: 32, size: 4 * kib, step: scatter4K, way: hostWay{engine: "psync", layout: "none", jobs: 2}}},
		{"direct", "--filesize=1048576 --fallocate=none --rw=randwrite --bs=4096 --io_size=40960 --numjobs=1 --ioengine=io_uring --direct=1 --iodepth=32",
			fioJob{fileSize: mib, write: true, direct: true, count: 10, depth: 32, size: 4 * kib, step: scatter4K,
				way: hostWay{engine: "io_uring", layout: "none"}}},
		{"fewer in flight", "--filesize=1048576 --fallocate=none --rw=read --bs=4096 --io_size=40960 --numjobs=1 --ioengine=io_uring --direct=1 --iodepth=4",
			fioJob{fileSize: mib, direct: true, count: 10, depth: 32, size: 4 * kib, step: 4 * kib,
				way: hostWay{engine: "io_uring", layout: "none", fewer: true}}},
		{"holes, in batches, with a flush", "--filesize=655360 --fallocate=native --rw=write:61440 --bs=4096 --io_size=40960 --numjobs=1" +
			" --ioengine=libaio --direct=1 --iodepth=32 --iodepth_batch_submit=8 --iodepth_batch_complete_min=8" +
			" --iodepth_batch_complete_max=32 --iodepth_low=24 --end_fsync=1",
			fioJob{fileSize: 640 * kib, write: true, direct: true, count: 10, depth: 32, size: 4 * kib, step: 64 * kib, holes: true, flush: true,
				way: hostWay{engine: "libaio", layout: "native", batches: true}}},
	} {
		tt.job.file = "f"
		if got := strings.Join(tt.job.args(), " "); got != common+tt.want {
			t.Errorf("%s:\n%q, want\n%q", tt.name, got, common+tt.want)
		}
	}
}

// fioPrinted is what matters here of what fio 3.33 prints, as it prints it.
const fioPrinted = `note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1
{
  "fio version" : "fio-3.33",
  "timestamp" : 1700000000,
  "time" : "Tue Nov 14 22:13:20 2023",
  "jobs" : [
    {
      "jobname" : "host",
      "groupid" : 0,
      "error" : 0,
      "eta" : 0,
      "elapsed" : 1,
      "read" : {
        "io_bytes" : 0,
        "iops" : 0.000000,
        "runtime" : 0,
        "total_ios" : 0
      },
      "write" : {
        "io_bytes" : 65536000,
        "bw" : 288288,
        "iops" : 64000.000000,
        "runtime" : 250,
        "total_ios" : 16000
      },
      "job_runtime" : 249,
      "usr_cpu" : 4.016064,
      "sys_cpu" : 36.144578,
      "ctx" : 127
    }
  ]
}
`

func TestFioReport(t *testing.T) {
	one, err := parseFio([]byte(fioPrinted))
	if err != nil || one.requests != 16000 || one.rate != 64000 || one.cpu.Round(time.Microsecond) != 100*time.Millisecond {
		t.Errorf("%+v, %v", one, err)
	}
	for name, out := range map[string]string{
		"nothing":      "",
		"half":         fioPrinted[:len(fioPrinted)/2],
		"no job":       `{"jobs" : []}`,
		"an error":     strings.Replace(fioPrinted, `"error" : 0`, `"error" : 5`, 1),
		"not a write":  strings.Replace(fioPrinted, `"total_ios" : 16000`, `"total_ios" : 0`, 1),
		"without rate": strings.Replace(fioPrinted, `"iops" : 64000.000000`, `"iops" : 0.000000`, 1),
	} {
		if one, err := parseFio([]byte(out)); err == nil {
			t.Errorf("%s: %+v", name, one)
		}
	}
}

// hostOf returns sides with fio, in a directory of their own, with small raw files.
func hostOf(t *testing.T) *sides {
	t.Helper()
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Skipf("the host alone is measured by fio: %v", err)
	}
	return &sides{ctx: t.Context(), dir: t.TempDir(), fio: fio, rawSize: 8 * mib}
}

// TestHostRuns runs each row that has an equivalent on the host alone.
func TestHostRuns(t *testing.T) {
	s := hostOf(t)
	rows := 0
	for _, r := range nbdRows() {
		r.count = 64
		if r.direct {
			continue // it is not everywhere
		}
		h, err := s.probeHost(&r)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if (h != nil) != r.raw {
			t.Errorf("%s is measured: %v", r.name, h != nil)
		}
		if h == nil {
			continue
		}
		rows++
		if h.leaves() != r.writes() || h.leaves() && h.job.count != r.count {
			t.Errorf("%s: %+v", r.name, h.job)
		}
		h.job.count = min(h.job.count, 64)
		one, err := h.measure(h.fast, h.lean)
		if err != nil || one.rate <= 0 || one.cpu < 0 {
			t.Errorf("%s: %+v, %v", r.name, one, err)
		}
	}
	if rows != 14 {
		t.Errorf("%d rows", rows)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("%q is left, not one file for each size; %v", left, err)
	}
}

// TestHostMakesTheTransfersOfFreshWrites leaves the blocks and the holes that a row has.
func TestHostMakesTheTransfersOfFreshWrites(t *testing.T) {
	s := hostOf(t)
	j := fioJob{file: "new", fileSize: 8 * 64 * kib, write: true, count: 8, depth: 1, size: 4 * kib, step: 64 * kib, holes: true,
		way: hostWay{engine: "psync", layout: "none"}}
	if _, err := s.runFio(&j); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != 7*64*kib+4*kib {
		t.Errorf("a file of %d bytes", len(data))
	}
	for at := 0; at < len(data); at += 4 * kib {
		if written := strings.Trim(string(data[at:at+4*kib]), "\x00") != ""; written != (at%(64*kib) == 0) {
			t.Errorf("data at %d: %v", at, written)
		}
	}
}

// TestHostFailsAsFioDoes does not take a failed run for a slow one.
func TestHostFailsAsFioDoes(t *testing.T) {
	s := hostOf(t)
	j := fioJob{file: "f", fileSize: mib, count: 1, depth: 1, size: 4 * kib, step: 4 * kib, way: hostWay{engine: "no such", layout: "none"}}
	if one, err := s.runFio(&j); err == nil {
		t.Errorf("%+v", one)
	}
	r := nbdRows()[0]
	r.count, s.fio = 8, "/bin/false"
	if _, err := s.probeHost(&r); err == nil {
		t.Error("a probe with no way that works")
	}
}

// TestHostReadsAsMuchAsAnImageTakes has the reads of a row with tables scattered over a file that
// is as large as the image on the disk, not as the disk in it.
func TestHostReadsAsMuchAsAnImageTakes(t *testing.T) {
	s := hostOf(t)
	made := image{"made", func(_ *sides, file string) error {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(64 * mib); err != nil {
			return err
		}
		_, err = f.WriteAt(bytes.Repeat([]byte{1}, 3*mib), 5*mib)
		return errors.Join(err, f.Sync())
	}}
	r := nbdRow{row{image: made, depth: 1, count: 64, size: 4 * kib, step: scatter4K, tables: true}, nbdproto.CmdRead}
	h, err := s.probeHost(&r)
	if err != nil {
		t.Fatal(err)
	}
	const least, most = 3 * mib, 4 * mib // a host may need blocks of its own
	if h == nil || h.job.fileSize < least || h.job.fileSize > most {
		t.Fatalf("%+v", h)
	}
	st, err := os.Stat(filepath.Join(s.dir, h.job.file))
	if err != nil || st.Size() != h.job.fileSize {
		t.Errorf("%v, %v", st, err)
	}
}
