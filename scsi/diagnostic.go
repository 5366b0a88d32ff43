package scsi

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/govmm/govmm/internal/iov"
)

// Values of SELF-TEST CODE (SPC-4). The extended tests, which read the whole
// medium, are not there.
const (
	selfTestNone       = 0
	selfTestBackground = 1 // short; it is so short that it is over at once
	selfTestForeground = 5 // short
)

// selfTestResult is an entry of the self-test results page (SPC-4).
type selfTestResult struct {
	code   byte
	hours  uint16 // powered on
	failed bool
	at     uint64 // first block that failed
	sense  Sense
}

// selfTestLog has the results of the last self-tests, the newest first.
type selfTestLog struct {
	mu      sync.Mutex
	results [20]selfTestResult
}

func (l *selfTestLog) add(r selfTestResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	copy(l.results[1:], l.results[:])
	l.results[0] = r
}

// append appends the parameters of the page; those for tests that did not take
// place are zero.
func (l *selfTestLog) append(b []byte) []byte {
	const unknownElementFailed = 0x04
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.results {
		var d [16]byte
		if r.code != selfTestNone {
			d[0] = r.code << 5
			binary.BigEndian.PutUint16(d[2:], r.hours)
			at := uint64(math.MaxUint64)
			if r.failed {
				d[0] |= unknownElementFailed
				at = r.at
				d[12], d[13], d[14] = byte(r.sense.Key), r.sense.Code.Code(), r.sense.Code.Qualifier()
			}
			binary.BigEndian.PutUint64(d[4:], at)
		}
		b = appendParameter(b, uint16(i+1), d[:]...)
	}
	return b
}

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
	case byDefault:
		_, s := u.selfTest(c)
		return failedSelfTest(s)
	case code != selfTestBackground && code != selfTestForeground:
		return invalidField(1, 7)
	}
	at, s := u.selfTest(c)
	u.selfTests.add(selfTestResult{
		code: code, hours: u.config.Health.hours(), failed: !s.OK(), at: at, sense: s,
	})
	if code == selfTestBackground {
		c.Err = nil // the log tells of it
		return Sense{}
	}
	return failedSelfTest(s)
}

func failedSelfTest(s Sense) Sense {
	if s.OK() {
		return s
	}
	return Sense{Key: KeyHardwareError, Code: ASCSelfTestFailed}
}

// selfTest reads the first, the middle and the last block. It returns the block
// that could not be read.
func (u *Unit) selfTest(c *Command) (at uint64, s Sense) {
	last, s := u.lastBlock()
	if !s.OK() {
		return 0, s
	}
	for _, lba := range [...]uint64{0, last / 2, last} {
		if _, s := u.compare(c, &u.counters.verify, int64(lba<<u.shift), int64(u.config.BlockSize), nil); !s.OK() {
			return lba, s
		}
	}
	return 0, Sense{}
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
