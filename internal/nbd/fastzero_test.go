package nbd

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// pickyRAM writes zeroes fast in its first half.
type pickyRAM struct{ *ram }

func (d pickyRAM) WriteZeroesFast(off, n int64, unmap bool) error {
	if off+n > d.Size()/2 {
		return errors.ErrUnsupported
	}
	return d.WriteZeroes(off, n, unmap)
}

// TestFastZeroesAreTried offers fast zeroes for devices that may have them or not: a request that would
// be slow is refused, and changes nothing.
func TestFastZeroesAreTried(t *testing.T) {
	for _, picky := range []bool{false, true} {
		d := newRAM(1 << 20)
		e := Export{Name: "a", Device: d, TryFastZero: true}
		if picky {
			e.Device = pickyRAM{d}
		}
		path, _ := start(t, &Server{Exports: []Export{e}})
		c := dial(t, path)
		info := c.option(nbdproto.OptInfo, append(str("a"), 0, 0))
		if flags := binary.BigEndian.Uint16(info[1].data[10:]); flags&nbdproto.FlagSendFastZero == 0 {
			t.Errorf("flags %#x", flags)
		}
		c.choose("a", true)
		c.request(nbdproto.CmdWrite, 0, 1, 0, 1<<20)
		c.put(string(make([]byte, 1<<19)) + "x" + string(make([]byte, 1<<19-1)))
		if code := c.simple(1); code != 0 {
			t.Fatalf("write: error %d", code)
		}
		for off, want := range []uint32{nbdproto.ErrnoNotSup, nbdproto.ErrnoNotSup} {
			if picky && off == 0 {
				want = 0
			}
			c.request(nbdproto.CmdWriteZeroes, nbdproto.CmdFlagFastZero, 2, uint64(off)<<19, 4096)
			reply := func() uint32 { return c.answer(2, 0, nil) } // errors come in chunks
			if want == 0 {
				reply = func() uint32 { return c.simple(2) }
			}
			if code := reply(); code != want {
				t.Errorf("picky %v, offset %d: error %d, want %d", picky, off<<19, code, want)
			}
		}
		if d.contents()[1<<19] != 'x' {
			t.Error("what was refused was done")
		}
		c.request(nbdproto.CmdWriteZeroes, 0, 3, 1<<19, 4096)
		if code := c.simple(3); code != 0 || d.contents()[1<<19] != 0 {
			t.Errorf("slow zeroes: error %d", code)
		}
	}
}

// TestExactNames has a server with names refuse the empty one, which means the only export otherwise.
func TestExactNames(t *testing.T) {
	for _, exact := range []bool{false, true} {
		path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: newRAM(1 << 20)}}, Exact: exact})
		got := dial(t, path).option(nbdproto.OptInfo, append(str(""), 0, 0))
		last := got[len(got)-1]
		if refused := last.kind == nbdproto.RepErrUnknown; refused != exact {
			t.Errorf("exact %v: reply %#x", exact, last.kind)
		} else if exact && string(last.data) != "export '' not present" {
			t.Errorf("%q", last.data)
		}
	}
}
