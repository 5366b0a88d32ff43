package qcow2

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// TestCommitKeepsToARate commits 2 MiB at 10 a second, which takes its time.
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
	if err := im.CommitTo(base, CommitOptions{Rate: 10 * mib}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if err := errors.Join(im.Close(), base.Close()); err != nil {
		t.Error(err)
	}
}
