package mfi

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestFrameFields builds frames and reads the fields back.
func TestFrameFields(t *testing.T) {
	io := Fields{
		Cmd: CmdLDWrite, SenseLen: 96, Target: 7, LUN: AccessFUA, Context: 0x01020304, Flags: FlagWrite | FlagIEEE,
		DataLen: 24, SenseAddr: 0x5_0000_1000, LBA: 0x1_2345_6789,
		SGL: []SGE{{0x1000, 512}, {0x2_0000_0000, 1024}},
	}.Marshal()
	if io.Cmd() != CmdLDWrite || io.SenseLen() != 96 || io.Target() != 7 || io.AccessByte() != 8 ||
		io.Context() != 0x01020304 || io.Blocks() != 24 || io.LBA() != 0x123456789 || io.SGECount() != 2 {
		t.Errorf("LD_WRITE: % x", []byte(io))
	}
	if a := io.SenseAddr(); a != 0x1000 {
		t.Errorf("sense address %#x without SENSE64", a)
	}
	if io.Len() != 0x28+2*16 {
		t.Errorf("LD_WRITE of %d bytes", io.Len())
	}
	cdb := Fields{Cmd: CmdPDSCSIIO, LUN: 3, CDB: []byte{0x12, 1, 2, 3}, DataLen: 36, Flags: FlagSense64, SenseAddr: 0x5_0000_1000}.Marshal()
	if cdb.LUN() != 3 || cdb.CDBLen() != 4 || cdb.CDB()[0] != 0x12 || len(cdb.CDB()) != 16 || cdb.SenseAddr() != 0x500001000 {
		t.Errorf("PD_SCSI_IO: % x", []byte(cdb))
	}
	dcmd := Fields{Cmd: CmdDCMD, Opcode: OpPDGetInfo, Mailbox: Mailbox{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, SGL: []SGE{{0x1000, 512}}}.Marshal()
	if m := dcmd.Mailbox(); dcmd.Opcode() != OpPDGetInfo || m.S(1) != 0x0403 || m.W(2) != 0x0c0b0a09 || dcmd.Len() != 0x30 {
		t.Errorf("DCMD: % x", []byte(dcmd))
	}
	abort := Fields{Cmd: CmdAbort, AbortContext: 9, AbortAddr: 0x1_0000_0040}.Marshal()
	if abort.AbortContext() != 9 || abort.AbortAddr() != 0x100000040 {
		t.Errorf("ABORT: % x", []byte(abort))
	}
	q := QueueInfo{Flags: QueueWide, Entries: 129, Base: 0x1000, Producer: 0x2000, Consumer: 0x2_0000_0004}
	if got := ParseQueueInfo((*[32]byte)(q.Marshal())); got != q {
		t.Errorf("queue description %+v, want %+v", got, q)
	}
}

func TestSGL(t *testing.T) {
	want := []SGE{{0x1000, 512}, {0x2000, 1}, {0xfffff000, 4096}}
	withEmpty := []SGE{want[0], {0xdead0000, 0}, want[1], want[2]}
	for _, flags := range []Flags{0, FlagSGL64, FlagIEEE, FlagIEEE | FlagSGL64} {
		for _, cmd := range []Cmd{CmdLDRead, CmdPDSCSIIO, CmdDCMD} {
			f := Fields{Cmd: cmd, Flags: flags, SGL: withEmpty}.Marshal()
			l := f.SGL()
			if n := l.Total(); n != 4609 {
				t.Errorf("%v %v: %d bytes in all", cmd, flags, n)
			}
			for i, w := range want {
				e, ok, err := l.Next()
				if e != w || !ok || err != nil {
					t.Errorf("%v %v: element %d is %v, %v, %v", cmd, flags, i, e, ok, err)
				}
			}
			if _, ok, err := l.Next(); ok || err != nil {
				t.Errorf("%v %v: an element too many, or %v", cmd, flags, err)
			}
		}
	}
}

func TestBadElements(t *testing.T) {
	wraps := Fields{Cmd: CmdLDRead, Flags: FlagIEEE, SGL: []SGE{{math.MaxUint64 - 10, 100}}}.Marshal()
	chain := Fields{Cmd: CmdLDRead, Flags: FlagIEEE, SGL: []SGE{{0x1000, 100}}}.Marshal()
	chain[0x28+15] = 0x80
	for what, f := range map[string]Frame{"wraps": wraps, "chain": chain} {
		l := f.SGL()
		_, ok, err := l.Next()
		var e *Error
		if ok || !errors.As(err, &e) || e.Status != StatusInvalidSGL || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
}

// TestNames looks for holes and doubles in the tables of names.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	check := func(name string) {
		if name == "" || strings.Contains(name, "(") || seen[name] {
			t.Errorf("bad name %q", name)
		}
		seen[name] = true
	}
	for c := CmdInit; c <= CmdSTP; c++ {
		check(c.String())
	}
	for s := StatusOK; s <= 0x65; s++ {
		check(s.String())
	}
	codes := Opcodes()
	for _, o := range codes {
		check(o.String())
	}
	if !slices.IsSorted(codes) {
		t.Errorf("the names of opcodes are not sorted: %v", codes)
	}
	for what, got := range map[string]string{
		"Cmd(0x7f)":             Cmd(0x7f).String(),
		"Status(0x66)":          Status(0x66).String(),
		"PENDING":               StatusPending.String(),
		"Opcode(0xdeadbeef)":    Opcode(0xdeadbeef).String(),
		"DONT_POST|IEEE|0x8000": (FlagDontPost | FlagIEEE | 0x8000).String(),
		"0":                     Flags(0).String(),
		"READY":                 StateReady.String(),
		"progress":              ClassProgress.String(),
		"EventClass(9)":         EventClass(9).String(),
	} {
		if got != what {
			t.Errorf("%q, want %q", got, what)
		}
	}
}

func TestEventFilter(t *testing.T) {
	linux := EventFilter(0xfe00ffff)
	if linux.Class() != ClassDebug || linux.Locale() != LocaleAll {
		t.Errorf("Linux's filter: %v, %#x", linux.Class(), linux.Locale())
	}
	if Filter(ClassProgress, LocaleLD) != 0xff000001 {
		t.Errorf("filter %#x", uint32(Filter(ClassProgress, LocaleLD)))
	}
	for _, tt := range []struct {
		want, event EventFilter
		match       bool
	}{
		{linux, Filter(ClassDebug, LocalePD), true},
		{Filter(ClassWarning, LocaleAll), Filter(ClassInfo, LocalePD), false},
		{Filter(ClassWarning, LocaleAll), Filter(ClassDead, LocalePD), true},
		{Filter(ClassInfo, LocaleLD), Filter(ClassFatal, LocalePD), false},
	} {
		if got := tt.want.Matches(tt.event); got != tt.match {
			t.Errorf("filter %#x, event %#x: %v", uint32(tt.want), uint32(tt.event), got)
		}
	}
}

// FuzzFrame decodes anything: no accessor may leave the bytes that Len tells of,
// and the list ends after as many elements as there are.
func FuzzFrame(f *testing.F) {
	for c := CmdInit; c <= CmdSTP; c++ {
		f.Add([]byte(Fields{Cmd: c, SGL: []SGE{{1, 2}, {3, 4}}}.Marshal()))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < HeaderLen {
			return
		}
		fr := Frame(p)
		n := fr.Len()
		if n < HeaderLen || n > MaxFrameLen {
			t.Fatalf("length %d", n)
		}
		if len(p) < n {
			return
		}
		fr = fr[:n:n]
		switch fr.Cmd() {
		case CmdInit:
			_ = fr.QueueInfoAddr()
		case CmdLDRead, CmdLDWrite:
			_, _, _, _ = fr.LBA(), fr.Blocks(), fr.SenseAddr(), fr.AccessByte()
		case CmdLDSCSIIO, CmdPDSCSIIO:
			_, _, _ = fr.CDB(), fr.SenseAddr(), fr.DataLen()
		case CmdDCMD:
			_, _ = fr.Opcode().String(), fr.Mailbox()
		case CmdAbort:
			_, _ = fr.AbortContext(), fr.AbortAddr()
		case CmdSTP:
			_, _, _ = fr.FIS(), fr.TunnelElement(0), fr.TunnelElement(1)
		}
		l := fr.SGL()
		sum, elements := uint64(0), 0
		for {
			e, ok, err := l.Next()
			if err != nil || !ok {
				break
			}
			sum += uint64(e.Len)
			elements++
		}
		if elements > fr.Elements() || sum > fr.SGL().Total() {
			t.Fatalf("%d elements, %d bytes", elements, sum)
		}
	})
}
