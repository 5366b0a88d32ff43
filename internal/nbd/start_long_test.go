package nbd

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestStartedLongRead reads 1 MiB and some less by lone requests from a device that
// starts transfers: all bytes come, once, in chunks of any order, of which the last one
// alone ends the reply.
func TestStartedLongRead(t *testing.T) {
	d := &starting{ram: newRAM(pieceSize)}
	want := make([]byte, pieceSize)
	for i := range want {
		want[i] = byte(i>>12*7 + i)
	}
	if err := d.WriteV([][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	path, stop := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	defer stop()
	c := dial(t, path)
	c.choose("a", true)
	be := binary.BigEndian
	// read returns what came, and the kind of the last chunk.
	read := func(n int) ([]byte, uint16) {
		c.put(appendRequest(nil, nbdproto.CmdRead, 0, uint32(n)))
		got, sum := make([]byte, pieceSize), 0
		for {
			h := c.get(nbdproto.ChunkHeaderSize)
			kind, length := be.Uint16(h[6:]), int(be.Uint32(h[16:]))
			p := c.get(length)
			if kind == nbdproto.ChunkOffsetData {
				sum += copy(got[be.Uint64(p):], p[8:])
			}
			if be.Uint16(h[4:])&nbdproto.ChunkFlagDone != 0 {
				if kind != nbdproto.ChunkError && sum != n {
					t.Fatalf("%d of %d bytes came", sum, n)
				}
				return got[:n], kind
			}
		}
	}
	for range 10 { // the device refuses another piece each time
		for _, n := range []int{startedPiece + 512, pieceSize, pieceSize - 512} {
			// One whose first piece the device refuses comes in one chunk.
			if got, kind := read(n); kind == nbdproto.ChunkError || !bytes.Equal(got, want[:n]) {
				t.Fatalf("%d bytes: others came, or the last chunk is of kind %d", n, kind)
			}
		}
	}
	if d.started() < 10 {
		t.Errorf("%d transfers were started", d.started())
	}
	d.fail.Store(true)
	if _, kind := read(pieceSize); kind != nbdproto.ChunkError {
		t.Errorf("a failed READ ends with a chunk of kind %d", kind)
	}
	d.fail.Store(false)
	if got, _ := read(pieceSize); !bytes.Equal(got, want) {
		t.Error("others came after a failure")
	}
}
