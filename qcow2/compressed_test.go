package qcow2

import (
	"errors"
	"testing"
)

// TestDecodedCache keeps what was put last, and nothing once told to forget.
func TestDecodedCache(t *testing.T) {
	var d decodedCache
	d.init(512 * kib)
	for entry := uint64(1); entry <= 3; entry++ {
		s := d.reserve(entry)
		copy(s.data, pattern(byte(entry), 512*kib)[0])
		d.filled(s, nil, nil, 0)
	}
	got := [][]byte{make([]byte, 10), make([]byte, 20)}
	for entry, want := range map[uint64]bool{1: false, 2: true, 3: true} {
		if _, found := d.read(entry, got, 512*kib-30, false, true); found != want || found && got[1][19] != byte(entry) {
			t.Errorf("cluster %d: found %v, %d", entry, found, got[1][19])
		}
	}
	d.forget()
	if _, found := d.read(3, got, 0, false, true); found {
		t.Error("a cluster was not forgotten")
	}
}

// TestEventsOfEachRead stops a read of a part of a cluster: another of the same cluster has an
// event of its own, and does not wait.
func TestEventsOfEachRead(t *testing.T) {
	_, im := newNumbered(t, CompressionZstd, nil)
	entered, leave := make(chan bool), make(chan bool)
	first := true
	im.event = func(e Event) {
		if e == EventReadCompressed && first {
			first = false
			close(entered)
			<-leave
		}
	}
	read := func() error { return im.ReadV([][]byte{make([]byte, numberedCluster/4)}, numberedCluster) }
	stopped := make(chan error)
	go func() { stopped <- read() }()
	<-entered
	if err := read(); err != nil {
		t.Fatal(err)
	}
	close(leave)
	if err := errors.Join(<-stopped, im.Close()); err != nil {
		t.Fatal(err)
	}
}
