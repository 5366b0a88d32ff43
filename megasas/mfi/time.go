package mfi

import (
	"bytes"
	"time"
)

// Seconds is t in the firmware's time base: seconds since the start of the year
// 2000, both by the local calendar. Earlier times are 0.
func Seconds(t time.Time) uint32 {
	wall := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	epoch := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	return uint32(max(0, wall.Unix()-epoch.Unix()))
}

// MarshalTime is t as CTRL_TIME_GET returns it: year as a halfword, then a byte
// each for month (1 is January), day, hour, minute and second, and a zero.
func MarshalTime(t time.Time) []byte {
	b := make(record, 8)
	b.u16(0, uint16(t.Year()))
	b.u8(2, uint8(t.Month()))
	b.u8(3, uint8(t.Day()))
	b.u8(4, uint8(t.Hour()))
	b.u8(5, uint8(t.Minute()))
	b.u8(6, uint8(t.Second()))
	return b
}

// ParseTime reads what MarshalTime returned, as a time of the location. It fails
// for a day that is not in the calendar.
func ParseTime(p *[8]byte, loc *time.Location) (time.Time, error) {
	b := record(p[:])
	year, month, day := int(b.get16(0)), time.Month(b[2]), int(b[3])
	t := time.Date(year, month, day, int(b[4]), int(b[5]), int(b[6]), 0, loc)
	if wall := MarshalTime(t); year < 2000 || year > 2099 || !bytes.Equal(wall[:7], b[:7]) {
		return time.Time{}, errorf(StatusInvalidParameter, "time % x is not in the calendar of 2000 to 2099", p[:])
	}
	return t, nil
}
