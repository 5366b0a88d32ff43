package chipset

import "time"

// elapsed is the time since the whole second of the guest that base is in.
//
// Preconditions: r.mu is held.
func (r *RTC) elapsed() time.Duration {
	return time.Duration(r.base.Nanosecond()) + max(r.clock.Now().Sub(r.since), 0)
}

// now is the guest's time in whole seconds.
//
// Preconditions: r.mu is held.
func (r *RTC) now() time.Time { return r.at(r.elapsed()) }

// at is the guest's time in whole seconds when elapsed was d.
func (r *RTC) at(d time.Duration) time.Time {
	return r.base.Truncate(time.Second).Add(d.Truncate(time.Second))
}

// setTime makes it t.
//
// Preconditions: r.mu is held; the flags are caught up.
func (r *RTC) setTime(t time.Time) {
	r.base, r.since = t.UTC(), r.clock.Now()
	r.seen = r.elapsed()
}

// isTime reports whether byte i of the memory is part of the time.
func isTime(i byte) bool {
	switch i {
	case rtcSeconds, rtcMinutes, rtcHours, rtcWeekday, rtcDay, rtcMonth, rtcYear, rtcCentury:
		return true
	}
	return false
}

// encode gives the bytes of the time that a guest reads, at their places.
//
// Preconditions: r.mu is held.
func (r *RTC) encode(t time.Time) (fields [128]byte) {
	put := func(i, v int) { fields[i] = r.fromInt(v) }
	put(rtcSeconds, t.Second())
	put(rtcMinutes, t.Minute())
	put(rtcWeekday, int(t.Weekday())+1)
	put(rtcDay, t.Day())
	put(rtcMonth, int(t.Month()))
	put(rtcYear, t.Year()%100)
	put(rtcCentury, t.Year()/100%100)
	fields[rtcHours] = r.fromHour(t.Hour())
	return fields
}

// decode is the inverse of encode. Fields out of their range carry over.
//
// Preconditions: r.mu is held.
func (r *RTC) decode(fields *[128]byte) time.Time {
	get := func(i int) int { return r.toInt(fields[i]) }
	return time.Date(get(rtcCentury)*100+get(rtcYear), time.Month(get(rtcMonth)), get(rtcDay),
		r.toHour(fields[rtcHours]), get(rtcMinutes), get(rtcSeconds), 0, time.UTC)
}

// hourPM is the bit of an hour in 12-hour format.
const hourPM = 0x80

// fromInt, toInt, fromHour and toHour convert to and from the format that
// register B selects.

func (r *RTC) fromInt(v int) byte {
	if r.ram[0][rtcB]&rtcBinary != 0 {
		return byte(v)
	}
	return toBCD(v)
}

func (r *RTC) toInt(b byte) int {
	if r.ram[0][rtcB]&rtcBinary != 0 {
		return int(b)
	}
	return int(b>>4)*10 + int(b&0xF)
}

func (r *RTC) fromHour(hour int) byte {
	if r.ram[0][rtcB]&rtc24Hours != 0 {
		return r.fromInt(hour)
	}
	v := r.fromInt((hour+11)%12 + 1)
	if hour >= 12 {
		v |= hourPM
	}
	return v
}

func (r *RTC) toHour(b byte) int {
	if r.ram[0][rtcB]&rtc24Hours != 0 {
		return r.toInt(b)
	}
	hour := r.toInt(b&^hourPM) % 12
	if b&hourPM != 0 {
		hour += 12
	}
	return hour
}

func toBCD(v int) byte { return byte(v/10%10<<4 | v%10) }

// Memory sizes as firmware expects them.
const (
	baseMemoryKiB = 640
	kib           = 1 << 10
	mib           = 1 << 20
	blockSize     = 64 * kib

	nvramEquipment  = 0x14 // bit 1 coprocessor, bit 2 pointing device port
	nvramBaseKiB    = 0x15
	nvramExtended   = 0x17 // KiB above 1 MiB
	nvramExtended2  = 0x30 // the same
	nvramAbove16MiB = 0x34 // in blocks of 64 KiB
	nvramAbove4GiB  = 0x5B // in blocks of 64 KiB, 3 bytes
	nvramCPUs       = 0x5F // less one

	nvramBoot    = 0x3D // bits 3:0 first, bits 7:4 second device to boot from
	bootHardDisk = 2
	bootCDROM    = 3
)

// describeMachine fills in what firmware wants to know.
func describeMachine(ram *[128]byte, c RTCConfig) {
	put := func(at, size int, v uint64) {
		v = min(v, 1<<(8*size)-1)
		for i := range size {
			ram[at+i] = byte(v >> (8 * i))
		}
	}
	above := func(limit uint64) uint64 { return c.LowMemory - min(limit, c.LowMemory) }
	put(nvramEquipment, 1, 0x06)
	put(nvramBaseKiB, 2, baseMemoryKiB)
	put(nvramExtended, 2, above(mib)/kib)
	put(nvramExtended2, 2, above(mib)/kib)
	put(nvramAbove16MiB, 2, above(16*mib)/blockSize)
	put(nvramAbove4GiB, 3, c.HighMemory/blockSize)
	put(nvramBoot, 1, bootCDROM<<4|bootHardDisk)
	put(nvramCPUs, 1, uint64(max(c.CPUs, 1)-1))
}
