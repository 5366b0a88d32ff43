package scsi

import (
	"encoding/binary"
)

// Byte 0 of INQUIRY data: peripheral qualifier and device type.
const (
	directAccess = 0x00 // a direct access block device, connected
	cdrom        = 0x05 // a CD or DVD drive, connected
	noUnit       = 0x7F // the target cannot have such a unit
)

// inquirySize is the length of standard INQUIRY data with version descriptors.
const inquirySize = 96

// versionDescriptors are the standards that INQUIRY claims (SPC-4).
var versionDescriptors = [...]uint16{
	0x0060, // SAM-3
	0x0300, // SPC-3
	sbc3,
}

const sbc3 = 0x04C0

// inquiry is INQUIRY (SPC-4).
func inquiry(u *Unit, c *Command) Sense {
	page := c.CDB[2]
	allocation := uint32(binary.BigEndian.Uint16(c.CDB[3:]))
	if c.CDB[1]&0x01 != 0 { // EVPD
		if c.LUN != 0 {
			return illegalRequest(ASCLogicalUnitNotSupported)
		}
		b, s := u.vitalProductData(page)
		if !s.OK() {
			return s
		}
		return c.reply(b, allocation)
	}
	if page != 0 {
		return invalidField(2, 7)
	}
	b := u.standardInquiry()
	if c.LUN != 0 {
		b[0] = noUnit
	}
	return c.reply(b[:], allocation)
}

// deviceType is byte 0 of INQUIRY data.
func (u *Unit) deviceType() byte {
	if u.config.CDROM {
		return cdrom
	}
	return directAccess
}

func isDirectAccess(u *Unit) bool { return !u.config.CDROM }

func (u *Unit) standardInquiry() [inquirySize]byte {
	id := &u.config.Identity
	b := [inquirySize]byte{
		0: u.deviceType(),
		2: 0x05, // version: SPC-3
		3: 0x02, // response data format
		4: inquirySize - 5,
		7: 0x02, // CMDQUE
	}
	if u.config.CDROM {
		b[1] = 0x80 // RMB
	}
	pad(b[8:16], id.Vendor)
	pad(b[16:32], id.Product)
	pad(b[32:36], id.Revision)
	for i, v := range versionDescriptors {
		if v == sbc3 && u.config.CDROM {
			continue
		}
		binary.BigEndian.PutUint16(b[58+2*i:], v)
	}
	return b
}

// pad fills dst with s, left aligned, and spaces.
func pad(dst []byte, s string) {
	n := copy(dst, s)
	for i := n; i < len(dst); i++ {
		dst[i] = ' '
	}
}
