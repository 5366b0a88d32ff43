package qcow2

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestCommitKeepsToARate commits 2.5 MiB at 10 a second, which takes its time, and tells of that.
func TestCommitKeepsToARate(t *testing.T) {
	low := newImage(t, CreateOptions{Size: 16 * mib})
	top := newImage(t, CreateOptions{Size: 16 * mib, BackingFile: "low", BackingFormat: "qcow2"})
	im, err := Open(top, Options{Backing: func(string, string) (Backing, error) { return Open(low.reopened(), Options{ReadOnly: true}) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := im.WriteV([][]byte{bytes.Repeat([]byte{7}, int(2*mib))}, 4*mib); err != nil {
		t.Fatal(err)
	}
	base, err := Open(low, Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var told [][2]int64
	if err := im.CommitTo(base, CommitOptions{Rate: 10 * mib, Progress: func(done, total int64) { told = append(told, [2]int64{done, total}) }}); err != nil {
		t.Fatal(err)
	}
	if want := [][2]int64{{mib, 5 * mib / 2}, {2 * mib, 5 * mib / 2}, {5 * mib / 2, 5 * mib / 2}}; !slices.Equal(told, want) { // not out of the disk
		t.Errorf("progress %v, want %v", told, want)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if err := errors.Join(im.Close(), base.Close()); err != nil {
		t.Error(err)
	}
}
