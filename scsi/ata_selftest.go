package scsi

import "encoding/binary"

// ataResult is a result as ATA has it, in the high half, with the tenths that are
// left of a test that runs in the low half.
func (l *selfTestLog) ataResult(r *selfTestResult) byte {
	const readFailed = 0x7
	switch r.result {
	case selfTestInProgress:
		return selfTestInProgress<<4 | byte(9-min(9, l.progress.Load()*10>>16))
	case selfTestFailed:
		return readFailed << 4
	}
	return r.result << 4
}

// ataStatus is the status of the newest self-test.
func (l *selfTestLog) ataStatus() byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ataResult(&l.results[0])
}

// ataCode is the subcommand of SMART that a test was begun with.
func (r *selfTestResult) ataCode() byte {
	return map[byte]byte{
		selfTestBackground: 0x01, selfTestBackgroundExtended: 0x02,
		selfTestForeground: 0x81, selfTestForegroundExtended: 0x82,
	}[r.code]
}

// ataLog is the SMART self-test log (ACS-2): 21 descriptors of 24 bytes, and the
// index of the newest.
func (l *selfTestLog) ataLog(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	le := binary.LittleEndian
	le.PutUint16(b, 1)
	n := l.count()
	b[508] = byte(n)
	for i := range n { // the oldest first
		r := &l.results[n-1-i]
		d := b[2+24*i:]
		d[0], d[1] = r.ataCode(), l.ataResult(r)
		le.PutUint16(d[2:], r.hours)
		if r.result == selfTestFailed {
			le.PutUint32(d[5:], uint32(min(r.at, 1<<28-1)))
		}
	}
}

// ataLogExt is the extended SMART self-test log: 19 descriptors of 26 bytes in
// its one page.
func (l *selfTestLog) ataLogExt(b []byte) {
	const most = 19
	l.mu.Lock()
	defer l.mu.Unlock()
	le := binary.LittleEndian
	b[0] = 1
	n := min(l.count(), most)
	le.PutUint16(b[2:], uint16(n))
	for i := range n {
		r := &l.results[n-1-i]
		d := b[4+26*i:]
		d[0], d[1] = r.ataCode(), l.ataResult(r)
		le.PutUint16(d[2:], r.hours)
		if r.result == selfTestFailed {
			for k := range 6 {
				d[5+k] = byte(r.at >> (8 * k))
			}
		}
	}
}

// count is how many results there are.
//
// Preconditions: l.mu is held.
func (l *selfTestLog) count() int {
	n := 0
	for n < len(l.results) && l.results[n].code != selfTestNone {
		n++
	}
	return n
}
