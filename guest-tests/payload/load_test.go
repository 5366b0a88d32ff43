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
		{Depth: 1, Commands: 40, Dry: true},
		{Depth: 1, Commands: 20, Dry: true, Interrupts: true},
		{Depth: 1, Commands: 50},
		{Depth: 32, Commands: 32}, // each buffer is filled once: in the order of the volume
	}
	g := newGuest(t)
	in, out := io.Pipe()
	t.Cleanup(func() { out.Close() })
	host := &counterpart{in: out}
	g.tune = func(c *vmm.Config) {
		c.Kernel = ldload.Kernel(preloaded, cases)
		c.Serial = []vmm.SerialConfig{{In: in, Out: host}}
	}
	for i := range uint64(preloaded * blockSize / ldload.ReadSize) {
		g.wantData("read", []mfi.SGE{{Addr: ldload.Buffers + ldload.ReadSize*i, Len: ldload.ReadSize}}, i*ldload.ReadSize/blockSize)
	}
	g.runTo(vmm.PowerOff)

	want := regexp.MustCompile(`^ready 0\ndone 0 [0-9a-f]{8}\nready 1\ndone 1 00000000\nready 2\ndone 2 00000013\n` +
		`ready 3\ndone 3 [0-9a-f]{8}\nready 4\ndone 4 [0-9a-f]{8}\n$`)
	if !want.MatchString(host.said.String()) {
		t.Errorf("the guest said %q", &host.said)
	}
	stats := g.controller.Stats()
	if stats.Posted != 1+50+400+32 {
		t.Errorf("%d frames were posted, want INIT and 482 reads", stats.Posted)
	}
	if stats.Interrupts == 0 {
		t.Error("the controller raised no interrupt")
	}
}
