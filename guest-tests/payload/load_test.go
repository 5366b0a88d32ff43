package payloadtests

import (
	"bytes"
	"io"
	"regexp"
	"testing"

	"github.com/govmm/govmm/internal/ldload"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/vmm"
)

// counterpart says "go" to each case of a load, and keeps what the guest says.
type counterpart struct {
	said bytes.Buffer
	line []byte
	in   *io.PipeWriter
}

func (c *counterpart) Write(p []byte) (int, error) {
	c.said.Write(p)
	for _, b := range p {
		c.line = append(c.line, b)
		if b != '\n' {
			continue
		}
		if bytes.HasPrefix(c.line, []byte("ready ")) {
			go c.in.Write([]byte{'g'})
		}
		c.line = c.line[:0]
	}
	return len(p), nil
}

// TestLoad runs the program that the controller is measured with. It is entered as
// PVH kernels are.
func TestLoad(t *testing.T) {
	cases := []ldload.Case{
		{Depth: 32, Commands: 400},
		{Depth: 1, Commands: 40, Target: ldload.Memory},
		{Depth: 1, Commands: 20, Target: ldload.Memory, Interrupts: true},
		{Depth: 1, Commands: 30, Target: ldload.Nowhere},
		{Depth: 1, Commands: 50},
		{Depth: 32, Commands: 100, Wait: ldload.Poll},
		{Depth: 1, Commands: 60, Wait: ldload.Interrupt},
		{Depth: 32, Commands: 64, Wait: ldload.Interrupt, Size: 64 << 10},
		{Depth: 32, Commands: 32}, // each buffer is filled once: in the order of the volume
		{Depth: 1, Commands: 8, Write: true, Size: 512},
	}
	g := newGuest(t)
	in, out := io.Pipe()
	t.Cleanup(func() { out.Close() })
	host := &counterpart{in: out}
	g.tune = func(c *vmm.Config) {
		c.Kernel = ldload.Kernel(preloaded, cases)
		c.Serial = []vmm.SerialConfig{{In: in, Out: host}}
	}
	const size = ldload.DefaultSize
	for i := range uint64(preloaded * blockSize / size) {
		g.wantData("read", []mfi.SGE{{Addr: ldload.Buffers + ldload.MaxSize*i, Len: size}}, i*size/blockSize)
	}
	for i := range 8 { // the last case writes from its first buffer only
		copy(g.disk.want[i*blockSize:], g.disk.want[:blockSize])
	}
	g.runTo(vmm.PowerOff)

	// The last interrupt of case 5 may be on its way yet when case 6 begins to count.
	want := regexp.MustCompile(`^ready 0\ndone 0 [0-9a-f]{8}\nready 1\ndone 1 00000000\nready 2\ndone 2 00000013\n` +
		`ready 3\ndone 3 00000000\nready 4\ndone 4 [0-9a-f]{8}\nready 5\ndone 5 00000000\nready 6\ndone 6 0000003[cd]\n` +
		`ready 7\ndone 7 [0-9a-f]{8}\nready 8\ndone 8 [0-9a-f]{8}\nready 9\ndone 9 [0-9a-f]{8}\n$`)
	if !want.MatchString(host.said.String()) {
		t.Errorf("the guest said %q", &host.said)
	}
	stats := g.controller.Stats()
	if stats.Posted != 1+400+50+100+60+64+32+8 {
		t.Errorf("%d frames were posted, want INIT and 714 commands", stats.Posted)
	}
	if stats.Interrupts == 0 {
		t.Error("the controller raised no interrupt")
	}
}
