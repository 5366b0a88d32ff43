package mfi

import "fmt"

// Flags is the halfword at offset 10 of a frame.
type Flags uint16

// Frame flags.
const (
	FlagDontPost Flags = 0x0001 // complete by cmd_status only: no reply entry, no interrupt
	FlagSGL64    Flags = 0x0002 // 12-byte scatter-gather elements
	FlagSense64  Flags = 0x0004 // the sense address has a high half
	FlagWrite    Flags = 0x0008 // host to device; advisory, some tools leave both clear
	FlagRead     Flags = 0x0010 // device to host; advisory
	FlagIEEE     Flags = 0x0020 // 16-byte elements; wins over FlagSGL64
)

var flagNames = [...]string{"DONT_POST", "SGL64", "SENSE64", "WRITE", "READ", "IEEE"}

// Has reports whether every bit of f is set.
func (fl Flags) Has(f Flags) bool { return fl&f == f }

// String lists the flags that are set, joined by "|".
func (fl Flags) String() string { return string(fl.Append(nil)) }

// Append appends what String returns.
func (fl Flags) Append(b []byte) []byte {
	start := len(b)
	for i, n := range flagNames {
		if f := Flags(1) << i; fl.Has(f) {
			if len(b) > start {
				b = append(b, '|')
			}
			b = append(b, n...)
			fl &^= f
		}
	}
	switch {
	case fl != 0 && len(b) > start:
		return fmt.Appendf(b, "|%#x", uint16(fl))
	case fl != 0:
		return fmt.Appendf(b, "%#x", uint16(fl))
	case len(b) == start:
		return append(b, '0')
	}
	return b
}
