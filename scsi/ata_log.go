package scsi

import "encoding/binary"

// ATA logs, by address (ACS-2).
const (
	logDirectory     = 0x00
	logSummaryErrors = 0x01 // SMART
	logErrors        = 0x03
	logStatistics    = 0x04
	logSelfTests     = 0x06 // SMART
	logSelfTestsExt  = 0x07
	logIdentify      = 0x30
)

// smartLog is a log of SMART READ LOG, nil if there is none or it is not that
// long.
func (u *Unit) smartLog(address byte, sectors int) []byte {
	if sectors != 1 {
		return nil
	}
	var b [512]byte
	switch address {
	case logDirectory:
		b[0] = 1
		for _, a := range []byte{logSummaryErrors, logSelfTests} {
			b[2*int(a)] = 1
		}
		return b[:]
	case logSummaryErrors:
		b[0] = 1
		// No error of the link or of a command: those of the medium are in the
		// attributes.
	case logSelfTests:
		u.selfTests.ataLog(b[:])
	default:
		return nil
	}
	b[511] = checksum(b[:511])
	return b[:]
}

// ataReadLog is READ LOG EXT and READ LOG DMA EXT: the log's address, the first
// page, and how many.
func ataReadLog(u *Unit, c *Command, t *taskFile) Sense {
	address := byte(t.lba)
	first := int(t.lba>>8&0xFF | t.lba>>24&0xFF00)
	var log []byte
	for page := first; page < first+int(t.count); page++ {
		p := u.logPage(address, page)
		if p == nil {
			return t.abort()
		}
		log = append(log, p[:]...)
	}
	if log == nil {
		return t.abort()
	}
	return u.ataReply(c, log)
}

// logPages48 are the logs of READ LOG EXT, and how many pages they have.
var logPages48 = [256]int{
	logDirectory:    1,
	logErrors:       1,
	logStatistics:   8,
	logSelfTestsExt: 1,
	logIdentify:     2,
}

// logPage is a page of a log, nil if there is none.
func (u *Unit) logPage(address byte, page int) *[512]byte {
	if page >= logPages48[address] {
		return nil
	}
	var b [512]byte
	le := binary.LittleEndian
	switch address {
	case logDirectory:
		le.PutUint16(b[0:], 1)
		for a, n := range logPages48 {
			if a != logDirectory {
				le.PutUint16(b[2*a:], uint16(n))
			}
		}
	case logErrors:
		b[0] = 1
		b[511] = checksum(b[:511])
	case logSelfTestsExt:
		u.selfTests.ataLogExt(b[:])
		b[511] = checksum(b[:511])
	case logStatistics:
		u.statistics(page, b[:])
	case logIdentify:
		u.identifyLog(page, b[:])
	}
	return &b
}

// identifyLog is the IDENTIFY DEVICE data log: its list of pages, and a copy of
// the data.
func (u *Unit) identifyLog(page int, b []byte) {
	if page == 1 {
		identify := u.identify()
		copy(b, identify[:])
		return
	}
	binary.LittleEndian.PutUint64(b, 1) // revision 1 of page 0
	copy(b[8:], []byte{2, 0x00, 0x01})
}

// statistics are the pages of the device statistics log that there are: the list
// of pages, general, errors, temperature.
func (u *Unit) statistics(page int, b []byte) {
	const general, generalErrors, temperature = 1, 4, 5
	le := binary.LittleEndian
	if page == 0 {
		le.PutUint64(b, 1)
		copy(b[8:], []byte{4, 0, general, generalErrors, temperature})
		return
	}
	le.PutUint64(b, uint64(page)<<16|1)
	// A statistic has 48 or fewer bits, and says that it is there and valid.
	put := func(at int, v uint64) { le.PutUint64(b[at:], v&(1<<56-1)|0xC0<<56) }
	t := u.counters.Totals()
	switch page {
	case general:
		put(8, uint64(u.config.ATA.Life.PowerCycles))
		put(16, uint64(u.config.Health.minutes()/60))
		put(24, u.lifeWritten()/512)
		put(40, u.lifeRead()/512)
	case generalErrors:
		put(8, t.MediumErrors)
	case temperature:
		put(8, uint64(u.config.Health.temperature()))
		put(88, uint64(u.config.Health.reference())) // specified maximum
	default:
		clear(b)
	}
}
