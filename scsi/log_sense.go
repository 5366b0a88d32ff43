package scsi

import "encoding/binary"

const (
	logPageHeader      = 4
	logParameterHeader = 4
	// logCumulative is the only PAGE CONTROL there is: the current cumulative
	// values. Thresholds are not kept.
	logCumulative = 1
	// logSupported is the page that lists the pages.
	logSupported = 0x00
)

// logSense is LOG SENSE (SPC-4).
func logSense(u *Unit, c *Command) Sense {
	code, subpage := c.CDB[2]&0x3F, c.CDB[3]
	pointer := binary.BigEndian.Uint16(c.CDB[5:])
	if c.CDB[1]&0x01 != 0 { // SP: nothing can be saved
		return invalidField(1, 0)
	}
	if c.CDB[2]>>6 != logCumulative {
		return invalidField(2, 7)
	}
	allocation := uint32(binary.BigEndian.Uint16(c.CDB[7:]))
	if code == logSupported {
		if pointer != 0 {
			return invalidField(5, 7)
		}
		if subpage != 0 && subpage != allSubpages {
			return invalidField(3, 7)
		}
		return c.reply(u.supportedLogPages(subpage == allSubpages), allocation)
	}
	for _, p := range logPages {
		if p.code != code || p.when != nil && !p.when(u) {
			continue
		}
		if subpage != 0 {
			return invalidField(3, 7)
		}
		b := p.append(u, make([]byte, logPageHeader, 512))
		b, ok := fromParameter(b, pointer)
		if !ok {
			return invalidField(5, 7)
		}
		b[0] = code
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-logPageHeader))
		return c.reply(b, allocation)
	}
	return invalidField(2, 5)
}

// supportedLogPages is the page with the codes of all pages, or of all pages and
// subpages.
func (u *Unit) supportedLogPages(subpages bool) []byte {
	const spf = 0x40
	b := make([]byte, logPageHeader, 64)
	if subpages {
		b[0], b[1] = spf, allSubpages
		b = append(b, logSupported, 0, logSupported, allSubpages)
	} else {
		b = append(b, logSupported)
	}
	for _, p := range logPages {
		switch {
		case p.when != nil && !p.when(u):
		case subpages:
			b = append(b, p.code, 0)
		default:
			b = append(b, p.code)
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-logPageHeader))
	return b
}

// fromParameter leaves out of a page the parameters with codes below pointer. It
// reports false if none is left.
func fromParameter(page []byte, pointer uint16) ([]byte, bool) {
	for at := logPageHeader; at < len(page); {
		if binary.BigEndian.Uint16(page[at:]) >= pointer {
			return append(page[:logPageHeader], page[at:]...), true
		}
		at += logParameterHeader + int(page[at+3])
	}
	return nil, false
}

// logSelect is LOG SELECT (SPC-4), for what can be done with counters that are
// not saved: clearing them, of one page or of all, which is what PCR does. Values
// cannot be set.
func logSelect(u *Unit, c *Command) Sense {
	const reset, save = 0x02, 0x01 // PCR, SP
	code, subpage := c.CDB[2]&0x3F, c.CDB[3]
	switch {
	case c.CDB[1]&save != 0:
		return invalidField(1, 0)
	case binary.BigEndian.Uint16(c.CDB[7:]) != 0:
		return invalidField(7, 7)
	case c.CDB[2]>>6 != logCumulative:
		return invalidField(2, 7)
	case subpage != 0 && !(code == 0 && subpage == allSubpages):
		return invalidField(3, 7)
	case c.CDB[1]&reset == 0:
		return Sense{} // nothing to be set
	}
	if code == logSupported {
		u.counters.clear()
		u.selfTests.clear()
		return Sense{}
	}
	for _, p := range logPages {
		if p.code == code && p.clear != nil && (p.when == nil || p.when(u)) {
			p.clear(u)
			return Sense{}
		}
	}
	return invalidField(2, 5)
}
