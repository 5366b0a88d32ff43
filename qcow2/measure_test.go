package qcow2

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// measureWithQEMU has qemu-img measure for a qcow2 image.
func (l *lab) measureWithQEMU(args ...string) Measurement {
	l.t.Helper()
	var m struct {
		Required int64
		Full     int64 `json:"fully-allocated"`
		Bitmaps  *int64
	}
	out := l.run("qemu-img", append([]string{"measure", "--output=json", "-O", "qcow2"}, args...)...)
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		l.t.Fatal(err)
	}
	if m.Bitmaps == nil {
		return Measurement{m.Required, m.Full, -1}
	}
	return Measurement{m.Required, m.Full, *m.Bitmaps}
}

// TestMeasureAsQEMU measures new images by size, and for sources of all kinds.
func TestMeasureAsQEMU(t *testing.T) {
	l := newLab(t)
	rng := seeded(t)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "disk", "5M")
	im := l.open("disk", Options{})
	l.scribble(im, make([]byte, im.Size()), rng, 30)
	l.close(im)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "-b", "disk", "-F", "qcow2", "top", "7M")
	im = l.open("top", Options{})
	l.scribble(im, make([]byte, im.Size()), rng, 30)
	l.close(im)
	l.run("qemu-img", "bitmap", "--add", "-f", "qcow2", "-g", "512", "disk", "b")
	l.run("qemu-img", "bitmap", "--add", "-f", "qcow2", "disk", "a longer name")
	raw, err := OpenFile(l.path("raw"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Truncate(9 * mib); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := raw.WriteV(pattern(7, 20*kib), rng.Int64N(900)*8*kib); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []MeasureOptions{
		{},
		{CreateOptions: CreateOptions{ClusterSize: 512}},
		{CreateOptions: CreateOptions{ClusterSize: 2 * mib, RefcountBits: 64}},
		{CreateOptions: CreateOptions{ClusterSize: 4096, RefcountBits: 1}},
		{CreateOptions: CreateOptions{Version: 2}},
		{CreateOptions: CreateOptions{BackingFile: "base", BackingFormat: "raw"}},
		{AllData: true},
	} {
		var list []string
		for key, set := range map[string]string{
			fmt.Sprintf("cluster_size=%d", o.ClusterSize):   "cluster_size=0",
			fmt.Sprintf("refcount_bits=%d", o.RefcountBits): "refcount_bits=0",
			fmt.Sprintf("compat=%d", o.Version):             "compat=0",
			"backing_file=" + o.BackingFile:                 "backing_file=",
		} {
			if key != set {
				list = append(list, strings.Replace(key, "compat=2", "compat=0.10", 1))
			}
		}
		if o.AllData {
			list = append(list, "preallocation=falloc")
		}
		args := []string{}
		if len(list) > 0 {
			args = append(args, "-o", strings.Join(list, ","))
		}
		compare := func(what string, source Source, more ...string) {
			t.Helper()
			got, err := Measure(source, o)
			if err != nil {
				t.Fatal(err)
			}
			if want := l.measureWithQEMU(append(args, more...)...); got != want {
				t.Errorf("%s, %q: %+v, qemu-img %+v", what, args, got, want)
			}
		}
		for _, size := range []int64{0, 1, 512, 64 * kib, 100*mib + 512, 3 << 40} {
			if o.ClusterSize == 512 && size > 1<<36 {
				continue
			}
			o.Size = size
			compare(fmt.Sprint(size), nil, "--size", fmt.Sprint(size))
		}
		for _, name := range []string{"disk", "top"} {
			im := l.openMapped(name)
			compare(name, im, "-f", "qcow2", name)
			l.close(im)
		}
		compare("raw", fileBacking{raw, 9 * mib}, "-f", "raw", "raw")
	}
	if _, err := Measure(nil, MeasureOptions{CreateOptions: CreateOptions{ClusterSize: 512, Size: 1 << 40}}); err == nil {
		t.Error("1 TiB in clusters of 512 bytes is measured")
	}
}
