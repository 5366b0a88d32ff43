package mfi

import (
	"fmt"
	"strings"
)

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
func (fl Flags) String() string {
	if fl == 0 {
		return "0"
	}
	var s []string
	for i, n := range flagNames {
		if b := Flags(1) << i; fl.Has(b) {
			s = append(s, n)
			fl &^= b
		}
	}
	if fl != 0 {
		s = append(s, fmt.Sprintf("%#x", uint16(fl)))
	}
	return strings.Join(s, "|")
}
