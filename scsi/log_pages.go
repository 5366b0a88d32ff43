package scsi

import "encoding/binary"

// Control bytes of log parameters (SPC-4): TSD, since nothing is saved, and the
// format.
const (
	logCounter = 0x22
	logBinary  = 0x23
)

// logPages are the log pages (SPC-4 and SBC-3), by page code. append adds the
// parameters, by parameter code.
var logPages = [...]struct {
	code   byte
	when   func(*Unit) bool // nil is always
	append func(u *Unit, b []byte) []byte
	clear  func(u *Unit) // by LOG SELECT; nil if it cannot be
}{
	{0x02, nil, func(u *Unit, b []byte) []byte { return u.counters.write.append(b) },
		func(u *Unit) { u.counters.write.clear() }},
	{0x03, nil, func(u *Unit, b []byte) []byte { return u.counters.read.append(b) },
		func(u *Unit) { u.counters.read.clear() }},
	{0x05, nil, func(u *Unit, b []byte) []byte { return u.counters.verify.append(b) },
		func(u *Unit) { u.counters.verify.clear() }},
	{0x06, nil, func(u *Unit, b []byte) []byte {
		return appendCounter(b, 0, u.counters.other.Load()-u.counters.otherCleared.Load())
	},
		func(u *Unit) { u.counters.clearOther() }},
	{0x0D, func(u *Unit) bool { return u.config.Health.Temperature != nil }, appendTemperature, nil},
	{0x0E, nil, appendStartStop, nil},
	{0x10, nil, func(u *Unit, b []byte) []byte { return u.selfTests.append(b) },
		func(u *Unit) { u.selfTests.clear() }},
	{0x11, isSolidState, appendSolidState, nil},
	{0x15, func(u *Unit) bool { return u.config.Health.PowerOn != nil }, appendBackgroundScan, nil},
	{0x18, func(u *Unit) bool { return len(u.config.Health.Ports) > 0 }, appendPorts, nil},
	{0x2F, nil, appendInformationalExceptions, nil},
}

// appendCounter appends a parameter that counts.
func appendCounter(b []byte, code uint16, value uint64) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = append(b, logCounter, 8)
	return binary.BigEndian.AppendUint64(b, value)
}

// appendParameter appends a parameter of another kind.
func appendParameter(b []byte, code uint16, data ...byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = append(b, logBinary, byte(len(data)))
	return append(b, data...)
}

// append appends the parameters of an error counter page. There is nothing that
// corrects, so an error is an uncorrected one.
func (w *workCounter) append(b []byte) []byte {
	const (
		correctedFast  = iota // without substantial delay
		correctedSlow         // with possible delays
		retried               // rewrites or rereads
		corrected             // in total
		algorithmRuns         // correction algorithm processed
		bytesProcessed        // in total
		uncorrected           // in total
	)
	values := [...]uint64{bytesProcessed: w.done.bytes() - w.bytesCleared.Load(),
		uncorrected: w.uncorrected.Load() - w.uncorrectedCleared.Load()}
	for code := correctedFast; code <= uncorrected; code++ {
		b = appendCounter(b, uint16(code), values[code])
	}
	return b
}

// appendTemperature is the temperature page: present and reference.
func appendTemperature(u *Unit, b []byte) []byte {
	h := &u.config.Health
	b = appendParameter(b, 0, 0, h.temperature())
	return appendParameter(b, 1, 0, h.reference())
}

// appendStartStop is the start-stop cycle counter page: the cycles so far.
func appendStartStop(u *Unit, b []byte) []byte {
	const accumulatedCycles = 4
	return appendParameter(b, accumulatedCycles, binary.BigEndian.AppendUint32(nil, u.counters.starts.Load())...)
}

// appendBackgroundScan is the background scan page: there is none, so it tells
// the time powered on.
func appendBackgroundScan(u *Unit, b []byte) []byte {
	var status [12]byte
	binary.BigEndian.PutUint32(status[:], u.config.Health.minutes())
	return appendParameter(b, 0, status[:]...)
}

// isSolidState says if the unit has no parts that move.
func isSolidState(u *Unit) bool { return u.config.RotationRate == 1 }

// appendSolidState is the solid state media page: nothing is worn, since there is
// nothing that wears.
func appendSolidState(_ *Unit, b []byte) []byte {
	const percentageUsed = 1
	return appendParameter(b, percentageUsed, 0, 0, 0, 0)
}

// appendPorts is the protocol specific port page of SAS (SPL). Links are free of
// errors.
func appendPorts(u *Unit, b []byte) []byte {
	const protocolSAS, phys, phyDescriptor = 0x06, 1, 52
	const endDevice, sspInitiator = 0x10, 0x08 // what is attached
	for i, p := range u.config.Health.Ports {
		var d [4 + phyDescriptor]byte
		d[0], d[3] = protocolSAS, phys
		phy := d[4:]
		phy[1], phy[3] = byte(i), phyDescriptor-4
		phy[4], phy[5], phy[6] = endDevice, p.LinkRate&0x0F, sspInitiator
		binary.BigEndian.PutUint64(phy[8:], p.Address)
		binary.BigEndian.PutUint64(phy[16:], p.Attached)
		phy[24] = p.AttachedPhy
		b = appendParameter(b, uint16(i+1), d[:]...)
	}
	return b
}

// appendInformationalExceptions is the informational exceptions page: there are
// none, and the most recent temperature.
func appendInformationalExceptions(u *Unit, b []byte) []byte {
	return appendParameter(b, 0, 0, 0, u.config.Health.temperature(), 0)
}
