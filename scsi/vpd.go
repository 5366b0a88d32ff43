package scsi

import (
	"encoding/binary"
)

// vpdHeader is the length of the header of a VPD page: peripheral qualifier and
// type, page code, and the length of what follows.
const vpdHeader = 4

// vpdSupportedPages is the page that lists the pages.
const vpdSupportedPages = 0x00

// vpdPages are the vital product data pages, by page code (SPC-4 and SBC-3).
// append adds what follows the header.
var vpdPages = [...]struct {
	code   byte
	when   func(*Unit) bool // nil is always
	append func(u *Unit, b []byte) []byte
}{
	{0x80, nil, appendSerialNumber},
	{0x83, nil, appendIdentification},
	{0x86, nil, appendExtendedInquiry},
	{0x89, isATA, appendATAInformation},
	{0xB0, isDirectAccess, appendBlockLimits},
	{0xB1, isDirectAccess, appendCharacteristics},
	{0xB2, canUnmap, appendProvisioning},
}

// vitalProductData returns a VPD page.
func (u *Unit) vitalProductData(code byte) ([]byte, Sense) {
	b := make([]byte, vpdHeader, 256)
	b[0], b[1] = u.deviceType(), code
	found := code == vpdSupportedPages
	if found {
		b = append(b, vpdSupportedPages)
	}
	for _, p := range vpdPages {
		if p.when != nil && !p.when(u) {
			continue
		}
		switch code {
		case vpdSupportedPages:
			b = append(b, p.code)
		case p.code:
			b, found = p.append(u, b), true
		}
	}
	if !found {
		return nil, invalidField(2, 7)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-vpdHeader))
	return b, Sense{}
}

// appendSerialNumber is the unit serial number page (SPC-4).
func appendSerialNumber(u *Unit, b []byte) []byte {
	return append(b, u.config.Identity.Serial...)
}

// appendIdentification is the device identification page (SPC-4): the NAA
// name if there is one, and one made of vendor, product and serial number.
func appendIdentification(u *Unit, b []byte) []byte {
	const binaryCode, asciiCode = 0x01, 0x02
	const typeT10, typeNAA = 0x01, 0x03 // associated with the logical unit
	id := &u.config.Identity
	if n := len(id.NAA); n > 0 {
		b = append(b, binaryCode, typeNAA, 0, byte(n))
		b = append(b, id.NAA...)
	}
	b = append(b, asciiCode, typeT10, 0, byte(8+16+len(id.Serial)))
	var name [8 + 16]byte
	pad(name[:8], id.Vendor)
	pad(name[8:], id.Product)
	b = append(b, name[:]...)
	return append(b, id.Serial...)
}

// appendExtendedInquiry is the extended INQUIRY data page (SPC-4). Offsets are
// from the start of the page.
func appendExtendedInquiry(u *Unit, b []byte) []byte {
	const simple, volatile = 0x01, 0x01 // SIMPSUP, V_SUP
	p := [64]byte{5: simple, 6: volatile, 13: MaxSenseSize}
	binary.BigEndian.PutUint16(p[10:], u.selfTestMinutes())
	return append(b, p[vpdHeader:]...)
}

// appendBlockLimits is the block limits page (SBC-3). Offsets below are
// from the start of the page.
func appendBlockLimits(u *Unit, b []byte) []byte {
	l := &u.config.Limits
	p := [64]byte{4: 0x01, // WSNZ: WRITE SAME of 0 blocks is refused
		5: l.MaxCompareAndWrite}
	be := binary.BigEndian
	be.PutUint16(p[6:], l.OptimalGranularity)
	be.PutUint32(p[8:], l.MaxTransfer)
	be.PutUint32(p[12:], l.OptimalTransfer)
	if canUnmap(u) {
		be.PutUint32(p[20:], l.MaxUnmap)
		be.PutUint32(p[24:], l.MaxUnmapDescriptors)
		if l.UnmapGranularity != 0 {
			be.PutUint32(p[28:], l.UnmapGranularity)
			be.PutUint32(p[32:], 1<<31) // UGAVALID, alignment 0
		}
	}
	be.PutUint64(p[36:], uint64(l.MaxWriteSame))
	return append(b, p[vpdHeader:]...)
}

// appendCharacteristics is the block device characteristics page (SBC-3). After
// BLOCK ERASE blocks can be read before they are written again.
func appendCharacteristics(u *Unit, b []byte) []byte {
	const readable = 0x40 // WABEREQ 1
	var p [64]byte
	binary.BigEndian.PutUint16(p[4:], u.config.RotationRate)
	if canBlockErase(u) {
		p[7] = readable
	}
	return append(b, p[vpdHeader:]...)
}

// appendProvisioning is the logical block provisioning page (SBC-3).
func appendProvisioning(u *Unit, b []byte) []byte {
	const lbpu, lbpws, lbpws10, lbprz = 0x80, 0x40, 0x20, 0x04
	const thin = 0x02
	flags := byte(lbpu | lbpws | lbpws10)
	if u.medium.DiscardZeroes() {
		flags |= lbprz
	}
	return append(b, 0, flags, thin, 0)
}
