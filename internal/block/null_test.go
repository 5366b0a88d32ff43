package block

import (
	"testing"
	"time"
)

// TestLatencyIsTaken waits for each request to a null device with a latency.
func TestLatencyIsTaken(t *testing.T) {
	const latency = 5 * time.Millisecond
	d, err := Open(Spec{Format: FormatNull, Size: 1 << 20, Latency: latency})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := [][]byte{make([]byte, 512)}
	for what, request := range map[string]func() error{
		"read": func() error { return d.ReadV(b, 0) }, "write": func() error { return d.WriteV(b, 0) }, "flush": d.Flush,
		"zeroes": func() error { return d.WriteZeroes(0, 512, false) },
	} {
		begun := time.Now()
		if err := request(); err != nil || time.Since(begun) < latency {
			t.Errorf("%s: %v after %v", what, err, time.Since(begun))
		}
	}
}
