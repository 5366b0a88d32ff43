package scsi

import "encoding/binary"

// What a CD-ROM drive tells of itself and of its disc (MMC-5).

const (
	firstTrack  = 1
	leadOut     = 0xAA // as the number of a track
	dataTrack   = 0x14 // ADR 1: position; CONTROL: data, no copies permitted
	msfOffset   = 150  // blocks before address 0
	framesInSec = 75
	secsInMin   = 60
)

// cdAddress is a block address as READ TOC returns it.
func cdAddress(lba uint32, msf bool) [4]byte {
	var b [4]byte
	if !msf {
		binary.BigEndian.PutUint32(b[:], lba)
		return b
	}
	frames := lba + msfOffset
	b[1] = byte(min(frames/(framesInSec*secsInMin), 255))
	b[2] = byte(frames / framesInSec % secsInMin)
	b[3] = byte(frames % framesInSec)
	return b
}

// readTOC is READ TOC, of the formats 0 (tracks) and 1 (sessions). The format may
// come in the control byte, too, as SFF-8020i had it.
func readTOC(u *Unit, c *Command) Sense {
	msf := c.CDB[1]&0x02 != 0
	format := c.CDB[2] & 0x0F
	if format == 0 {
		format = c.CDB[9] >> 6
	}
	allocation := uint32(binary.BigEndian.Uint16(c.CDB[7:]))
	track := func(b []byte, number byte, lba uint32) []byte {
		at := cdAddress(lba, msf)
		return append(append(b, 0, dataTrack, number, 0), at[:]...)
	}
	b := []byte{0, 0, firstTrack, firstTrack}
	switch start := c.CDB[6]; format {
	case 0:
		if start > firstTrack && start != leadOut {
			return invalidField(6, 7)
		}
		if start <= firstTrack {
			b = track(b, firstTrack, 0)
		}
		b = track(b, leadOut, uint32(min(u.Blocks(), 1<<31)))
	case 1:
		b = track(b, firstTrack, 0)
	default:
		return invalidField(2, 3)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return c.reply(b, allocation)
}

// readDiscInformation is READ DISC INFORMATION: a disc that is complete, of one
// session with one track.
func readDiscInformation(_ *Unit, c *Command) Sense {
	if c.CDB[1]&0x07 != 0 {
		return invalidField(1, 2)
	}
	b := [34]byte{1: 32, 2: 0x0E, 3: firstTrack, 4: 1, 5: firstTrack, 6: firstTrack, 8: 0x00}
	return c.reply(b[:], uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}

// cdFeatures are the features of a read-only drive, by code: version and flags
// (persistent, current) and data.
var cdFeatures = []struct {
	code  uint16
	flags byte
	data  []byte
}{
	{0x0000, 0x03, []byte{0x00, 0x08, 0x01, 0x00}},                   // profile list: CD-ROM, current
	{0x0001, 0x0B, []byte{0, 0, 0, 0x01, 0x01, 0, 0, 0}},             // core: SCSI
	{0x0003, 0x03, []byte{0x29, 0, 0, 0}},                            // removable medium: tray, eject, lock
	{0x0010, 0x01, []byte{0, 0, cdBlockSize >> 8, 0, 0, 0x01, 0, 0}}, // random readable
	{0x001E, 0x09, []byte{0, 0, 0, 0}},                               // CD read
}

// profileCDROM is the profile of a drive that reads CDs.
const profileCDROM = 0x0008

// getConfiguration is GET CONFIGURATION.
func getConfiguration(u *Unit, c *Command) Sense {
	const all, current, one = 0, 1, 2
	request := c.CDB[1] & 0x03
	if request > one {
		return invalidField(1, 1)
	}
	be := binary.BigEndian
	start := be.Uint16(c.CDB[2:])
	b := make([]byte, 8, 64)
	if !u.tray.open.Load() {
		be.PutUint16(b[6:], profileCDROM)
	}
	for _, f := range cdFeatures {
		if request == one && f.code != start || f.code < start {
			continue
		}
		b = be.AppendUint16(b, f.code)
		b = append(b, f.flags, byte(len(f.data)))
		b = append(b, f.data...)
	}
	be.PutUint32(b, uint32(len(b)-4))
	return c.reply(b, uint32(be.Uint16(c.CDB[7:])))
}

// getEventStatus is GET EVENT STATUS NOTIFICATION, polled. There are events of the
// media class only.
func getEventStatus(u *Unit, c *Command) Sense {
	const polled, mediaClass, noEvent = 0x01, 4, 0x80
	if c.CDB[1]&polled == 0 {
		return invalidField(1, 0)
	}
	allocation := uint32(binary.BigEndian.Uint16(c.CDB[7:]))
	if c.CDB[4]&(1<<mediaClass) == 0 {
		return c.reply([]byte{0, 2, noEvent, 1 << mediaClass}, allocation)
	}
	b := [8]byte{1: 6, 2: mediaClass, 3: 1 << mediaClass, 4: byte(u.tray.event.Swap(mediaNoChange))}
	b[5] = 0x02 // the disc is there
	if u.tray.open.Load() {
		b[5] = 0x01
	}
	return c.reply(b[:], allocation)
}

// mechanismStatus is MECHANISM STATUS.
func mechanismStatus(u *Unit, c *Command) Sense {
	b := [8]byte{5: 1} // one slot
	if u.tray.open.Load() {
		b[1] = 0x10
	}
	return c.reply(b[:], uint32(binary.BigEndian.Uint16(c.CDB[8:])))
}

// cdModePages are the mode pages, with their headers.
var cdModePages = [][]byte{
	{0x01, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // error recovery
	{0x2A, 20, // capabilities and mechanical status
		0x00, 0x00, // reads nothing but CD-ROM, writes nothing
		0x70, 0x00, // multi-session, both forms of mode 2
		0x29, 0x00, // a tray, which ejects and locks
		0x21, 0x13, 0x00, 0x00, // 48 times the speed of a CD, in KB/s
		0x02, 0x00, 0x21, 0x13, // a buffer of 512 KB
		0, 0, 0, 0, 0, 0, 0, 0},
}

// appendCDModePages appends the pages that a MODE SENSE asks for.
func appendCDModePages(b, cdb []byte) ([]byte, Sense) {
	control, code, subpage := cdb[2]>>6, cdb[2]&0x3F, cdb[3]
	if control == modeSaved {
		return nil, illegalRequest(ASCSavingParametersNotSupported)
	}
	if subpage != 0 && subpage != allSubpages {
		return nil, invalidField(3, 7)
	}
	known := false
	for _, p := range cdModePages {
		if code != allPages && code != p[0] {
			continue
		}
		known = true
		b = append(b, p...)
		if control == modeChangeable {
			clear(b[len(b)-len(p)+2:])
		}
	}
	if !known {
		return nil, invalidField(2, 5)
	}
	return b, Sense{}
}

// cdModeSense6 is MODE SENSE(6), without block descriptors.
func cdModeSense6(_ *Unit, c *Command) Sense {
	b, s := appendCDModePages(make([]byte, 4, 64), c.CDB)
	if !s.OK() {
		return s
	}
	b[0] = byte(len(b) - 1)
	return c.reply(b, uint32(c.CDB[4]))
}

// cdModeSense10 is MODE SENSE(10), without block descriptors.
func cdModeSense10(_ *Unit, c *Command) Sense {
	b, s := appendCDModePages(make([]byte, 8, 64), c.CDB)
	if !s.OK() {
		return s
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	return c.reply(b, uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}
