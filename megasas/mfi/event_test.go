package mfi

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// TestEventArgs compares the arguments of events with what readers of the log take
// them to be.
func TestEventArgs(t *testing.T) {
	ld, pd := LDRef{Target: 5, Index: 7}, PDRef{DeviceID: 0x123, EnclosureIndex: 4, Slot: 9}
	for _, tt := range []struct {
		args EventArgs
		kind byte
		want string
	}{
		{nil, 0, ""},
		{ArgsLD{ld}, 2, "0500 07 00"},
		{ArgsLDProgress{ld, Progress{Done: 0x8000, Seconds: 60}}, 7, "0500 07 00 0080 3c00"},
		{ArgsLDState{ld, LDOptimal, LDOffline}, 8, "0500 07 00 03000000 00000000"},
		{ArgsPD{pd}, 10, "2301 04 09"},
		{ArgsPDError{pd, 0x0a0b0c0d}, 11, "2301 04 09 0d0c0b0a"},
		{ArgsPDProgress{pd, Progress{Done: 0xffff, Seconds: 1}}, 14, "2301 04 09 ffff 0100"},
		{ArgsPDState{pd, PDOnline, PDFailed}, 15, "2301 04 09 18000000 11000000"},
		{ArgsPCI{0x1000, 0x79, 0x1028, 0x1f16}, 16, "0010 7900 2810 161f"},
		{ArgsString("2.130"), 18, "322e313330"},
		{ArgsTime{Time: 0x30201000, Elapsed: 3600}, 19, "00102030 100e0000"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		e := Event{Code: EventPDError, Args: tt.args}
		b := e.Marshal()
		if b[0x10] != tt.kind || !bytes.Equal(b[0x20:][:len(want)], want) || len(bytes.Trim(b[0x20+len(want):0x80], "\x00")) != 0 {
			t.Errorf("%T: kind %d, % x; want kind %d, % x", tt.args, b[0x10], b[0x20:0x40], tt.kind, want)
		}
		again := ParseEvent((*[EventLen]byte)(b))
		if !bytes.Equal(again.Marshal(), b) {
			t.Errorf("%T: not the same after it was read", tt.args)
		}
	}
}
