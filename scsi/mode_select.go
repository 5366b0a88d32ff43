package scsi

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/govmm/govmm/internal/iov"
)

// modeList is the parameter list of MODE SELECT (SPC-4), with the length of the
// header that the form of the command has.
type modeList struct {
	data   []byte
	header int
}

// modeSelect6 is MODE SELECT(6) (SPC-4).
func modeSelect6(u *Unit, c *Command) Sense {
	return u.modeSelect(c, int(c.CDB[4]), 4)
}

// modeSelect10 is MODE SELECT(10) (SPC-4).
func modeSelect10(u *Unit, c *Command) Sense {
	return u.modeSelect(c, int(binary.BigEndian.Uint16(c.CDB[7:])), 8)
}

// modeSelect checks the whole list before it changes anything. There is one
// initiator, so nobody else is to be told that parameters have changed.
func (u *Unit) modeSelect(c *Command, length, header int) Sense {
	const pageFormat, savePages = 0x10, 0x01 // PF, SP
	if c.CDB[1]&pageFormat == 0 {
		return invalidField(1, 4)
	}
	save := c.CDB[1]&savePages != 0
	if save && !u.canSave() {
		return invalidField(1, 0)
	}
	if length == 0 {
		return u.saveModeNow(c, save)
	}
	if length < header || length > iov.Len(c.Data) {
		return illegalRequest(ASCParameterListLengthError)
	}
	list := modeList{data: make([]byte, length), header: header}
	iov.Gather(list.data, c.Data)

	u.modeMu.Lock()
	defer u.modeMu.Unlock()
	pages, s := list.checkDescriptor(u)
	if !s.OK() {
		return s
	}
	settings := u.modeSettings()
	for at := pages; at < length; {
		n, s := list.takePage(u, at, &settings)
		if !s.OK() {
			return s
		}
		at += n
	}
	if s := u.saveMode(c, save, settings); !s.OK() {
		return s
	}
	if err := u.SetWriteCache(settings.WriteCache); err != nil {
		return c.failed(err, ASCWriteError)
	}
	u.descriptorSense.Store(settings.DescriptorSense)
	u.softProtected.Store(settings.WriteProtect)
	c.Transferred = length
	return Sense{}
}

// checkDescriptor checks the header and the block descriptor, which may repeat
// what the unit has, and returns where the pages start.
func (l modeList) checkDescriptor(u *Unit) (pages int, s Sense) {
	be := binary.BigEndian
	mediumType, lengthAt, long := 1, 3, false
	length := int(l.data[3])
	if l.header == 8 {
		mediumType, lengthAt = 2, 6
		length, long = int(be.Uint16(l.data[6:])), l.data[4]&0x01 != 0
	}
	if l.data[mediumType] != 0 {
		return 0, invalidParameter(mediumType)
	}
	size := 8
	if long {
		size = 16
	}
	if length == 0 {
		return l.header, Sense{}
	}
	if length != size {
		return 0, invalidParameter(lengthAt)
	}
	if len(l.data) < l.header+size {
		return 0, illegalRequest(ASCParameterListLengthError)
	}
	d := l.data[l.header:]
	blocks, blockSize, blockSizeAt := uint64(be.Uint32(d)), be.Uint32(d[4:])&0xFFFFFF, 5
	all := uint64(math.MaxUint32)
	if long {
		blocks, blockSize, blockSizeAt = be.Uint64(d), be.Uint32(d[12:]), 12
		all = math.MaxUint64
	}
	// 0 is no change, and all ones is as many as there are.
	if blocks != 0 && blocks != all && blocks != u.Blocks() {
		return 0, invalidParameter(l.header)
	}
	if blockSize != u.config.BlockSize {
		return 0, invalidParameter(l.header + blockSizeAt)
	}
	return l.header + size, Sense{}
}

// takePage checks the page at at, takes over its settings and returns its
// length.
func (l modeList) takePage(u *Unit, at int, settings *ModeParameters) (n int, s Sense) {
	const spf = 0x40
	rest := l.data[at:]
	code, subpage, header, sizeAt := rest[0]&0x3F, byte(0), 2, 1
	if rest[0]&spf != 0 {
		header, sizeAt = 4, 2
	}
	if rest[0]&0x80 != 0 { // PS is reserved here
		return 0, invalidParameterBit(at, 7)
	}
	if len(rest) < header {
		return 0, illegalRequest(ASCParameterListLengthError)
	}
	size := int(rest[1])
	if header == 4 {
		subpage, size = rest[1], int(binary.BigEndian.Uint16(rest[2:]))
	}
	p := findModePage(u, code, subpage)
	switch {
	case p == nil || (p.subpage != 0) != (header == 4):
		return 0, invalidParameterBit(at, 5)
	case size != p.size:
		return 0, invalidParameter(at + sizeAt)
	case len(rest) < header+size:
		return 0, illegalRequest(ASCParameterListLengthError)
	}
	page := rest[header : header+size]
	was, changeable := make([]byte, size), make([]byte, size)
	p.put(u, modeCurrent, was)
	p.changeable(u, changeable)
	for i := range page {
		if bad := (page[i] ^ was[i]) &^ changeable[i]; bad != 0 {
			return 0, invalidParameterBit(at+header+i, bits.Len8(bad)-1)
		}
	}
	p.set(settings, page)
	return header + size, Sense{}
}

func findModePage(u *Unit, code, subpage byte) *modePage {
	for i := range modePages {
		if p := &modePages[i]; p.code == code && p.subpage == subpage && p.has(u) {
			return p
		}
	}
	return nil
}
