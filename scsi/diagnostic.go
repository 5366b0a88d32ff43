package scsi

import (
	"context"
	"encoding/binary"

	"github.com/govmm/govmm/internal/iov"
)

// sendDiagnostic is SEND DIAGNOSTIC (SPC-4): a self-test, or a request for the
// one diagnostic page there is, which lists itself.
func sendDiagnostic(u *Unit, c *Command) Sense {
	const pageFormat, selfTest = 0x10, 0x04 // PF, SELFTEST
	code := c.CDB[1] >> 5
	byDefault := c.CDB[1]&selfTest != 0
	length := binary.BigEndian.Uint16(c.CDB[3:])
	switch {
	case byDefault && code != selfTestNone:
		return invalidField(1, 7)
	case !byDefault && code == selfTestNone:
		return u.takeDiagnosticPage(c, c.CDB[1]&pageFormat != 0, int(length))
	case length != 0:
		return invalidField(3, 7)
	case byDefault: // it is not logged
		_, s := u.selfTest(context.Background(), c, selfTestForeground)
		return failedSelfTest(s)
	}
	switch code {
	case selfTestBackground, selfTestBackgroundExtended:
		if !u.backgroundSelfTest(code) {
			s := u.selfTests.inProgress()
			s.Key, s.Code = KeyNotReady, ASCSelfTestInProgress
			return s
		}
		return Sense{}
	case selfTestForeground, selfTestForegroundExtended:
		if u.selfTests.isRunning() {
			return Sense{Key: KeyNotReady, Code: ASCSelfTestInProgress}
		}
		return failedSelfTest(u.foregroundSelfTest(c, code))
	case selfTestAbort:
		if u.abortSelfTest() {
			return Sense{}
		}
	}
	return invalidField(1, 7)
}

func failedSelfTest(s Sense) Sense {
	if s.OK() {
		return s
	}
	return Sense{Key: KeyHardwareError, Code: ASCSelfTestFailed}
}

// takeDiagnosticPage takes a parameter list of SEND DIAGNOSTIC.
func (u *Unit) takeDiagnosticPage(c *Command, pageFormat bool, length int) Sense {
	if length == 0 {
		return Sense{}
	}
	if !pageFormat {
		return invalidField(1, 4)
	}
	var page [4]byte
	if length < len(page) || length > iov.Len(c.Data) {
		return illegalRequest(ASCParameterListLengthError)
	}
	iov.Gather(page[:], c.Data)
	switch {
	case page[0] != 0:
		return invalidParameter(0)
	case page[2] != 0 || page[3] != 0:
		return invalidParameter(2)
	case length > len(page):
		return illegalRequest(ASCParameterListLengthError)
	}
	c.Transferred = length
	return Sense{}
}

// receiveDiagnostic is RECEIVE DIAGNOSTIC RESULTS (SPC-4): the supported
// diagnostic pages, whether asked for here with PCV or by SEND DIAGNOSTIC.
func receiveDiagnostic(_ *Unit, c *Command) Sense {
	if page := c.CDB[2]; page != 0 {
		return invalidField(2, 7)
	}
	b := [...]byte{3: 1, 4: 0x00}
	return c.reply(b[:], uint32(binary.BigEndian.Uint16(c.CDB[3:])))
}
