package megasas

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// traceLine collects lines of a Trace, either as words or as JSON objects.
type traceLine struct {
	json bool
	b    []byte
}

func (l *traceLine) begin(now time.Time, event string) {
	if !l.json {
		l.b = now.AppendFormat(l.b, "15:04:05.000000 ")
		l.b = append(l.b, event...)
		return
	}
	l.b = append(l.b, `{"time":"`...)
	l.b = now.AppendFormat(l.b, "2006-01-02T15:04:05.000000Z07:00")
	l.b = append(l.b, '"')
	l.value("event", event)
}

func (l *traceLine) end() {
	if l.json {
		l.b = append(l.b, '}')
	}
	l.b = append(l.b, '\n')
}

// key begins a member.
func (l *traceLine) key(name string) {
	if l.json {
		l.b = append(l.b, `,"`...)
		l.b = append(l.b, name...)
		l.b = append(l.b, `":`...)
		return
	}
	l.b = append(l.b, ' ')
	l.b = append(l.b, name...)
	l.b = append(l.b, '=')
}

// quote is put around what is no number.
func (l *traceLine) quote() {
	if l.json {
		l.b = append(l.b, '"')
	}
}

// value adds a word of which people know what it is without its name. Words have no
// characters that JSON would escape.
func (l *traceLine) value(name, word string) {
	if l.json {
		l.key(name)
	} else {
		l.b = append(l.b, ' ')
	}
	l.quote()
	l.b = append(l.b, word...)
	l.quote()
}

// address is value for an address.
func (l *traceLine) address(name string, addr uint64) {
	if l.json {
		l.hex(name, addr)
		return
	}
	l.b = append(l.b, ' ')
	l.appendHex(addr)
}

// text adds words, which people see in quotes.
func (l *traceLine) text(name, words string) {
	l.key(name)
	l.b = append(l.b, '"')
	l.b = append(l.b, words...)
	l.b = append(l.b, '"')
}

func (l *traceLine) number(name string, n uint64) {
	l.key(name)
	l.b = strconv.AppendUint(l.b, n, 10)
}

func (l *traceLine) hex(name string, n uint64) {
	l.key(name)
	l.quote()
	l.appendHex(n)
	l.quote()
}

func (l *traceLine) appendHex(n uint64) {
	l.b = append(l.b, "0x"...)
	l.b = strconv.AppendUint(l.b, n, 16)
}

func (l *traceLine) bytes(name string, p []byte) {
	l.key(name)
	l.quote()
	l.b = hex.AppendEncode(l.b, p)
	l.quote()
}

// yes adds something that holds.
func (l *traceLine) yes(name string) {
	if l.json {
		l.key(name)
		l.b = append(l.b, "true"...)
		return
	}
	l.value(name, name)
}

// microseconds adds a time, for which JSON has a number.
func (l *traceLine) microseconds(name string, d time.Duration) {
	l.key(name)
	l.b = strconv.AppendInt(l.b, d.Microseconds(), 10)
	if !l.json {
		l.b = append(l.b, "us"...)
	}
}

// sense adds sense key, code and qualifier, as scripts of faults have them.
func (l *traceLine) sense(s scsi.Sense) {
	l.key("sense")
	l.quote()
	l.b = strconv.AppendUint(l.b, uint64(s.Key), 16)
	for _, part := range [...]uint8{uint8(s.Code >> 8), uint8(s.Code)} {
		l.b = append(l.b, '/')
		l.b = hex.AppendEncode(l.b, []byte{part})
	}
	l.quote()
}

// identify says which frame it is.
func (l *traceLine) identify(f FrameFetched) {
	l.address("addr", f.Addr)
	l.hex("ctx", uint64(f.Frame.ContextHigh())<<32|uint64(f.Frame.Context()))
	l.value("cmd", f.Frame.Cmd().String())
	if f.Frame.Cmd() == mfi.CmdDCMD && len(f.Frame) >= f.Frame.Len() {
		l.value("opcode", f.Frame.Opcode().String())
	}
}

// body says what a frame wants. It is there as a whole.
func (l *traceLine) body(f mfi.Frame) {
	switch f.Cmd() {
	case mfi.CmdInit:
		l.hex("queue", f.QueueInfoAddr())
	case mfi.CmdLDRead, mfi.CmdLDWrite:
		l.number("target", uint64(f.Target()))
		l.hex("lba", f.LBA())
		l.number("blocks", uint64(f.Blocks()))
		if f.AccessByte() != 0 {
			l.hex("access", uint64(f.AccessByte()))
		}
	case mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO:
		cdb := f.CDB()[:min(int(f.CDBLen()), len(f.CDB()))]
		l.number("target", uint64(f.Target()))
		l.number("lun", uint64(f.LUN()))
		l.bytes("cdb", cdb)
		l.text("op", scsi.CommandName(cdb))
		l.number("len", uint64(f.DataLen()))
	case mfi.CmdDCMD:
		box := f.Mailbox()
		l.bytes("mbox", box[:])
		l.number("len", uint64(f.DataLen()))
	case mfi.CmdAbort:
		l.hex("abort", f.AbortAddr())
		l.hex("abort_ctx", uint64(f.AbortContext()))
	case mfi.CmdSMP, mfi.CmdSTP:
		l.number("target", uint64(f.Target()))
		l.number("len", uint64(f.DataLen()))
	}
	l.key("flags")
	l.quote()
	l.b = f.Flags().Append(l.b)
	l.quote()
	if f.Timeout() != 0 {
		l.number("timeout", uint64(f.Timeout()))
	}
	l.elements(f)
}

// elements lists the frame's scatter-gather list.
func (l *traceLine) elements(f mfi.Frame) {
	if f.Elements() == 0 {
		return
	}
	if f.Cmd() == mfi.CmdSMP || f.Cmd() == mfi.CmdSTP {
		l.beginElements()
		for i := range f.Elements() {
			l.element(i, f.TunnelElement(i))
		}
		l.endElements()
		return
	}
	l.beginElements()
	list := f.SGL()
	e, ok, err := list.Next()
	for i := 0; ok; i++ {
		l.element(i, e)
		e, ok, err = list.Next()
	}
	l.endElements()
	if err != nil {
		l.text("sgl_error", err.Error())
	}
}

func (l *traceLine) beginElements() {
	l.key("sgl")
	if l.json {
		l.b = append(l.b, '[')
	}
}

func (l *traceLine) element(i int, e mfi.SGE) {
	if i > 0 {
		l.b = append(l.b, ',')
	}
	if l.json {
		l.b = append(l.b, `{"addr":"`...)
		l.appendHex(e.Addr)
		l.b = append(l.b, `","len":`...)
		l.b = strconv.AppendUint(l.b, uint64(e.Len), 10)
		l.b = append(l.b, '}')
		return
	}
	l.appendHex(e.Addr)
	l.b = append(l.b, '+')
	l.b = strconv.AppendUint(l.b, uint64(e.Len), 10)
}

func (l *traceLine) endElements() {
	if l.json {
		l.b = append(l.b, ']')
	}
}
