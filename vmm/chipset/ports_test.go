package chipset_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/govmm/govmm/vmm/chipset"
)

func TestResetControl(t *testing.T) {
	resets := 0
	r := chipset.NewResetControl(func() { resets++ })
	for _, tt := range []struct {
		value, read byte
		resets      int
	}{{0x00, 0, 0}, {0x02, 2, 0}, {0x06, 2, 1}, {0x0F, 2, 2}, {0x04, 0, 3}} {
		out(r, 0, tt.value)
		if got := in(r, 0); got != tt.read || resets != tt.resets {
			t.Errorf("after %#x: reads %#x, %d resets, want %#x and %d", tt.value, got, resets, tt.read, tt.resets)
		}
	}
	out(r, 0, 2)
	r.Reset()
	if in(r, 0) != 0 {
		t.Error("the register survived a reset")
	}
}

func TestPort92(t *testing.T) {
	resets := 0
	p := chipset.NewPort92(func() { resets++ })
	if got := in(p, 0); got != 2 {
		t.Errorf("reads %#x at reset, want A20 on", got)
	}
	for _, tt := range []struct {
		value  byte
		resets int
	}{{0x00, 0}, {0x02, 0}, {0x03, 1}, {0x03, 1}, {0x02, 1}, {0x01, 2}} {
		out(p, 0, tt.value)
		if got := in(p, 0); got != tt.value || resets != tt.resets {
			t.Errorf("after %#x: reads %#x, %d resets, want %d", tt.value, got, resets, tt.resets)
		}
	}
}

func TestDebugPort(t *testing.T) {
	var text bytes.Buffer
	d := chipset.NewDebugPort(&text)
	if got := in(d, 0); got != 0xE9 {
		t.Errorf("reads %#x, want 0xe9", got)
	}
	for _, c := range []byte("SeaBIOS\n") {
		out(d, 0, c)
	}
	if err := d.Close(context.Background()); err != nil || text.String() != "SeaBIOS\n" {
		t.Errorf("wrote %q, error %v", text.String(), err)
	}
	out(d, 0, '!')
	if text.String() != "SeaBIOS\n" {
		t.Error("writes after Close arrive")
	}
}
