package scsi

import (
	"encoding/binary"
	"math"
)

// Values of PAGE CONTROL, bits 7:6 of byte 2 of MODE SENSE (SPC-4).
const (
	modeCurrent    = 0
	modeChangeable = 1
	modeDefault    = 2
	modeSaved      = 3
)

// Page and subpage codes that stand for many.
const (
	allPages    = 0x3F
	allSubpages = 0xFF
)

// modeSense6 is MODE SENSE(6) (SPC-4).
func modeSense6(u *Unit, c *Command) Sense {
	const header = 4
	b := make([]byte, header, 256)
	b[2] = u.deviceSpecific()
	if c.CDB[1]&0x08 == 0 { // DBD
		b = u.appendBlockDescriptor(b, false)
		b[3] = byte(len(b) - header)
	}
	b, s := u.appendModePages(b, c.CDB)
	if !s.OK() {
		return s
	}
	b[0] = byte(len(b) - 1)
	return c.reply(b, uint32(c.CDB[4]))
}

// modeSense10 is MODE SENSE(10) (SPC-4).
func modeSense10(u *Unit, c *Command) Sense {
	const header = 8
	b := make([]byte, header, 256)
	b[3] = u.deviceSpecific()
	if c.CDB[1]&0x08 == 0 { // DBD
		long := c.CDB[1]&0x10 != 0 // LLBAA
		b = u.appendBlockDescriptor(b, long)
		if long {
			b[4] = 0x01 // LONGLBA
		}
		binary.BigEndian.PutUint16(b[6:], uint16(len(b)-header))
	}
	b, s := u.appendModePages(b, c.CDB)
	if !s.OK() {
		return s
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return c.reply(b, uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}

// deviceSpecific is the device-specific parameter of the header (SBC-3).
func (u *Unit) deviceSpecific() byte {
	const wp, dpofua = 0x80, 0x10
	if u.ReadOnly() {
		return wp | dpofua
	}
	return dpofua
}

// appendBlockDescriptor appends the mode parameter block descriptor, with short
// or long addresses (SBC-3).
func (u *Unit) appendBlockDescriptor(b []byte, long bool) []byte {
	be := binary.BigEndian
	if long {
		b = be.AppendUint64(b, u.Blocks())
		return be.AppendUint64(b, uint64(u.config.BlockSize))
	}
	b = be.AppendUint32(b, uint32(min(u.Blocks(), math.MaxUint32)))
	return be.AppendUint32(b, u.config.BlockSize)
}

// appendModePages appends the pages that bytes 2 and 3 of the CDB ask for.
func (u *Unit) appendModePages(b, cdb []byte) ([]byte, Sense) {
	control, code, subpage := cdb[2]>>6, cdb[2]&0x3F, cdb[3]
	if control == modeSaved && !u.canSave() {
		return nil, illegalRequest(ASCSavingParametersNotSupported)
	}
	knownPage, knownSubpage := code == allPages, false
	const ps, spf = 0x80, 0x40
	for i := range modePages {
		p := &modePages[i]
		if code != allPages && code != p.code || !p.has(u) {
			continue
		}
		knownPage = true
		if subpage != allSubpages && subpage != p.subpage {
			continue
		}
		knownSubpage = true
		first := p.code
		if p.savable && u.canSave() {
			first |= ps
		}
		if p.subpage == 0 {
			b = append(b, first, byte(p.size))
		} else {
			b = append(b, spf|first, p.subpage)
			b = binary.BigEndian.AppendUint16(b, uint16(p.size))
		}
		b = append(b, make([]byte, p.size)...)
		p.put(u, control, b[len(b)-p.size:])
	}
	if !knownPage {
		return nil, invalidField(2, 5)
	}
	if !knownSubpage {
		return nil, invalidField(3, 7)
	}
	return b, Sense{}
}
