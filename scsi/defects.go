package scsi

import "encoding/binary"

// Bits of READ DEFECT DATA (SBC-3): which lists, and the format of addresses,
// which stand in the response as they do in the CDB.
const (
	defectLists  = 0x18 // REQ_PLIST, REQ_GLIST
	defectFormat = 0x07
	formatVendor = 0x06 // and 7 is reserved
)

// readDefectData10 is READ DEFECT DATA(10) (SBC-3). What is under a medium
// replaces its own defects, so both lists are empty.
func readDefectData10(_ *Unit, c *Command) Sense {
	if c.CDB[2]&defectFormat >= formatVendor {
		return invalidField(2, 2)
	}
	b := [4]byte{1: c.CDB[2] & (defectLists | defectFormat)}
	return c.reply(b[:], uint32(binary.BigEndian.Uint16(c.CDB[7:])))
}

// readDefectData12 is READ DEFECT DATA(12) (SBC-3).
func readDefectData12(_ *Unit, c *Command) Sense {
	if c.CDB[1]&defectFormat >= formatVendor {
		return invalidField(1, 2)
	}
	b := [8]byte{1: c.CDB[1] & (defectLists | defectFormat)}
	return c.reply(b[:], binary.BigEndian.Uint32(c.CDB[6:]))
}
