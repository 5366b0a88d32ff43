package qcow2

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestPassDiscard looks at what the host has back after each class of release.
func TestPassDiscard(t *testing.T) {
	const size = 4 << 20
	full := bytes.Repeat([]byte{7}, size)
	write := func(t *testing.T, im *Image) {
		t.Helper()
		if err := im.WriteV([][]byte{full}, 0); err != nil {
			t.Fatal(err)
		}
	}
	releases := map[PassDiscard]func(t *testing.T, im *Image) error{
		PassRequest: func(t *testing.T, im *Image) error {
			write(t, im)
			return im.Discard(0, size)
		},
		PassSnapshot: func(t *testing.T, im *Image) error {
			write(t, im)
			if _, err := im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				return err
			}
			if err := im.Discard(0, size); err != nil {
				return err
			}
			return im.DeleteSnapshot("s")
		},
		PassOther: func(t *testing.T, im *Image) error {
			if err := im.WriteCompressed(squeezable(3, size), 0); err != nil {
				return err
			}
			if err := im.Flush(); err != nil {
				return err
			}
			return im.WriteV([][]byte{full}, 0)
		},
	}
	for class, release := range releases {
		for _, passed := range []PassDiscard{0, PassNone, PassRequest, PassSnapshot, PassOther} {
			path := filepath.Join(t.TempDir(), "disk")
			f, err := OpenFile(path, os.O_RDWR|os.O_CREATE)
			if err != nil {
				t.Fatal(err)
			}
			if err := Create(f, CreateOptions{Size: size}); err != nil {
				t.Fatal(err)
			}
			p := &punches{File: f}
			im, err := Open(p, Options{PassDiscard: passed})
			if err != nil {
				t.Fatal(err)
			}
			if err := release(t, im); err != nil {
				t.Fatal(err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			want := passed&class != 0 || passed == 0 && defaultPassDiscard&class != 0
			if got := p.bytes > 0; got != want {
				t.Errorf("release %d, passed %d: %d bytes punched", class, passed, p.bytes)
			}
		}
	}
}

// punches counts what is given back of a file.
type punches struct {
	File
	bytes int64
	holes int
}

func (p *punches) PunchHole(off, n int64) error {
	p.bytes += n
	p.holes++
	return p.File.PunchHole(off, n)
}

func TestPassDiscardWith(t *testing.T) {
	for i, tt := range []struct{ got, want PassDiscard }{
		{PassDiscard(0).With(PassOther, true), PassRequest | PassSnapshot | PassOther},
		{PassDiscard(0).With(PassRequest, false), PassSnapshot},
		{PassSnapshot.With(PassSnapshot, false), PassNone},
		{PassNone.With(PassRequest, true), PassRequest},
	} {
		if tt.got != tt.want {
			t.Errorf("%d: %d, want %d", i, tt.got, tt.want)
		}
	}
}

// TestHolesAreJoined drops a snapshot's clusters, which lie in another order than on the
// disk: those that are side by side are one hole.
func TestHolesAreJoined(t *testing.T) {
	f := &punches{File: newImage(t, CreateOptions{Size: 64 * mib})}
	im, err := Open(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	const clusters = 100
	for i := range int64(clusters) {
		if err := im.WriteV(pattern(byte(i), 64*kib), (clusters-i)*64*kib); err != nil {
			t.Fatal(err)
		}
	}
	f.holes = 0
	if err := im.ApplySnapshot("old"); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := f.holes; n < 1 || n > 3 { // tables may lie between
		t.Errorf("%d holes for %d clusters", n, clusters)
	}
}
