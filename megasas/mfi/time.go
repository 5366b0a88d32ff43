package mfi

import "time"

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
