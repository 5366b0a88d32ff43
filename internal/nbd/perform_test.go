package nbd

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestCommands runs every command with every flag, by simple and by structured
// replies.
func TestCommands(t *testing.T) {
	for _, structured := range []bool{false, true} {
		d := newRAM(8 << 20)
		path, _ := start(t, &Server{Exports: exports(d)})
		c := dial(t, path)
		c.choose("a", structured)
		code := func(cookie uint64) uint32 {
			if structured && cookie >= 100 { // errors and READs come in chunks
				return c.answer(cookie, 0, nil)
			}
			return c.simple(cookie)
		}
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(i % 251)
		}
		c.request(nbdproto.CmdWrite, 0, 1, 1000, uint32(len(data)))
		c.put(data)
		if code(1) != 0 {
			t.Error("write")
		}
		c.request(nbdproto.CmdFlush, 0, 2, 0, 0)
		if code(2) != 0 || d.flushes.Load() != 1 {
			t.Errorf("flush, %d flushes", d.flushes.Load())
		}
		c.request(nbdproto.CmdWrite, nbdproto.CmdFlagFUA, 3, 7<<20, 1)
		c.put("x")
		if code(3) != 0 || d.flushes.Load() != 2 {
			t.Errorf("FUA, %d flushes", d.flushes.Load())
		}
		c.request(nbdproto.CmdWriteZeroes, nbdproto.CmdFlagNoHole, 4, 8192, 8192)
		if code(4) != 0 || d.contents()[8192] != 0 || !d.holds(2) {
			t.Error("WRITE_ZEROES with NO_HOLE")
		}
		c.request(nbdproto.CmdWriteZeroes, nbdproto.CmdFlagFastZero|nbdproto.CmdFlagFUA, 5, 16384, 8192)
		if code(5) != 0 || d.contents()[16384] != 0 || d.holds(4) || d.flushes.Load() != 3 {
			t.Error("WRITE_ZEROES")
		}
		c.request(nbdproto.CmdTrim, 0, 6, 1<<20, 1<<20)
		if code(6) != 0 || d.holds(300) {
			t.Error("TRIM")
		}
		c.request(nbdproto.CmdCache, 0, 7, 0, 8<<20)
		if code(7) != 0 {
			t.Error("CACHE")
		}
		if structured {
			if !bytes.Equal(c.read(0, 8<<20), d.contents()) {
				t.Error("READ of everything")
			}
			if !bytes.Equal(c.read(8191, 16386), d.contents()[8191:][:16386]) {
				t.Error("READ")
			}
		} else {
			c.request(nbdproto.CmdRead, 0, 8, 0, 8<<20)
			if code(8) != 0 || !bytes.Equal(c.get(8<<20), d.contents()) {
				t.Error("READ of everything")
			}
		}
		for i, tt := range []struct {
			cmd    command
			flags  uint16
			off    uint64
			length uint32
			want   uint32
		}{
			{nbdproto.CmdRead, 0, 8 << 20, 1, nbdproto.ErrnoInval},
			{nbdproto.CmdRead, 0, 1 << 63, 1, nbdproto.ErrnoInval},
			{nbdproto.CmdRead, 0, 0, MaxRequest + 1, nbdproto.ErrnoInval},
			{nbdproto.CmdWriteZeroes, 0, 8<<20 - 1, 2, nbdproto.ErrnoNoSpace},
			{nbdproto.CmdTrim, 0, 8<<20 - 1, 2, nbdproto.ErrnoInval},
			{nbdproto.CmdTrim, nbdproto.CmdFlagNoHole, 0, 512, nbdproto.ErrnoInval},
			{nbdproto.CmdFlush, nbdproto.CmdFlagDF, 0, 0, nbdproto.ErrnoInval},
			{nbdproto.CmdBlockStatus, 0, 0, 512, nbdproto.ErrnoInval},
			{8, 0, 0, 512, nbdproto.ErrnoInval},
			{77, 0, 0, 0, nbdproto.ErrnoInval},
		} {
			cookie := uint64(100 + i)
			c.request(tt.cmd, tt.flags, cookie, tt.off, tt.length)
			if got := code(cookie); got != tt.want {
				t.Errorf("%+v: error %d", tt, got)
			}
		}
		c.request(nbdproto.CmdWrite, 0, 200, 8<<20-1, 2)
		c.put("xy")
		if code(200) != nbdproto.ErrnoNoSpace {
			t.Error("WRITE beyond the end")
		}
		d.fail.Store(true)
		c.request(nbdproto.CmdWrite, 0, 201, 0, 2)
		c.put("xy")
		if code(201) != nbdproto.ErrnoNoSpace {
			t.Error("ENOSPC")
		}
		c.request(nbdproto.CmdRead, 0, 202, 0, 2)
		if code(202) != nbdproto.ErrnoIO {
			t.Error("a failing READ")
		}
	}
}

// TestReadFailsInTheMiddle closes the stream of a client that was promised bytes.
func TestReadFailsInTheMiddle(t *testing.T) {
	d := newRAM(4 << 20)
	d.gate = make(chan struct{})
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", false)
	c.request(nbdproto.CmdRead, 0, 1, 0, 4<<20)
	d.gate <- struct{}{}
	if code := c.simple(1); code != 0 {
		t.Fatal(code)
	}
	c.get(pieceSize)
	d.fail.Store(true)
	d.gate <- struct{}{}
	c.closed()
}

// TestReadOnly refuses writes and still reads.
func TestReadOnly(t *testing.T) {
	e := exports(newRAM(1 << 20))
	e[0].ReadOnly = true
	path, _ := start(t, &Server{Exports: e})
	c := dial(t, path)
	info := c.option(nbdproto.OptInfo, append(str("a"), 0, 0))
	if flags := binary.BigEndian.Uint16(info[1].data[10:]); flags&nbdproto.FlagReadOnly == 0 || flags&(nbdproto.FlagSendTrim|nbdproto.FlagSendWriteZeroes) != 0 {
		t.Errorf("flags %#x", flags)
	}
	c.choose("a", true)
	c.request(nbdproto.CmdWrite, 0, 1, 0, 3)
	c.put("abc")
	c.request(nbdproto.CmdTrim, 0, 2, 0, 4096)
	c.request(nbdproto.CmdWriteZeroes, 0, 3, 0, 4096)
	for cookie := range uint64(3) {
		if code := c.answer(cookie+1, 0, nil); code != nbdproto.ErrnoPerm {
			t.Errorf("request %d: error %d", cookie+1, code)
		}
	}
	c.read(0, 4096)
}

// TestBlockStatus asks for both contexts of an export.
func TestBlockStatus(t *testing.T) {
	d := newRAM(1 << 20)
	if err := d.WriteV([][]byte{make([]byte, 8192)}, 128<<10); err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true, "base:allocation", "qemu:dirty-bitmap:b0")
	c.request(nbdproto.CmdBlockStatus, 0, 1, 0, 1<<20)
	words := func(ch chunkReply) (list []uint32) {
		for b := ch.data; len(b) > 0; b = b[4:] {
			list = append(list, binary.BigEndian.Uint32(b))
		}
		return list
	}
	for i, want := range [][]uint32{
		{1, 128 << 10, 3, 8192, 0, 1<<20 - 136<<10, 3},
		{2, 64 << 10, 1, 1<<20 - 64<<10, 0},
	} {
		ch := c.chunk()
		if got := words(ch); ch.kind != nbdproto.ChunkBlockStatus || ch.last != (i == 1) || !equal(got, want) {
			t.Errorf("context %d: %+v %v, want %v", i, ch, got, want)
		}
	}
	c.request(nbdproto.CmdBlockStatus, nbdproto.CmdFlagReqOne, 2, 4096, 1<<20-4096)
	if got := words(c.chunk()); !equal(got, []uint32{1, 124 << 10, 3}) {
		t.Errorf("REQ_ONE: %v", got)
	}
	c.chunk()
	c.request(nbdproto.CmdBlockStatus, 0, 3, 0, 0)
	if code := c.answer(3, 0, nil); code != nbdproto.ErrnoInval {
		t.Errorf("status of nothing: %d", code)
	}
}

func equal(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestHolesAreNotSent answers a READ of a hole with a few bytes.
func TestHolesAreNotSent(t *testing.T) {
	d := newRAM(8 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true)
	c.request(nbdproto.CmdRead, 0, 1, 0, 8<<20)
	for total := 0; total < 8<<20; {
		ch := c.chunk()
		if ch.kind != nbdproto.ChunkOffsetHole {
			t.Fatalf("chunk of kind %d", ch.kind)
		}
		total += int(binary.BigEndian.Uint32(ch.data[8:]))
	}
	c.request(nbdproto.CmdRead, nbdproto.CmdFlagDF, 2, 0, 1<<20)
	if ch := c.chunk(); ch.kind != nbdproto.ChunkOffsetData || len(ch.data) != 8+1<<20 || !ch.last {
		t.Errorf("with DF: chunk of kind %d, %d bytes", ch.kind, len(ch.data))
	}
	c.request(nbdproto.CmdRead, nbdproto.CmdFlagDF, 3, 0, 2<<20)
	if code := c.answer(3, 0, nil); code != nbdproto.ErrnoOverflow {
		t.Errorf("DF of 2 MiB: error %d", code)
	}
}
