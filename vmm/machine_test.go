package vmm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/kvm"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// runLimit is far more than any payload takes, also where KVM interprets.
const runLimit = 5 * time.Minute

// newMachine builds a machine that runs the program, with the processors and
// serial ports of c. The test is skipped on a host without KVM.
func newMachine(t testing.TB, p *payload.Program, c Config) *Machine {
	t.Helper()
	if p != nil {
		c.Kernel = p.Kernel()
	}
	c.Memory = max(c.Memory, 16*mib)
	c.CPUs = max(c.CPUs, 1)
	m, err := New(c)
	skipWithoutKVM(t, err)
	if c.Memory > 64<<30 && errors.Is(err, unix.ENOMEM) {
		t.Skipf("the host does not promise what it has not got (sysctl vm.overcommit_memory): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// skipWithoutKVM skips a test if that is what an error of New is about.
func skipWithoutKVM(t testing.TB, err error) {
	t.Helper()
	var open *kvm.OpenError
	if errors.As(err, &open) {
		t.Skip(err)
	}
}

// runTo runs the machine and wants it to end in a certain way.
func runTo(t testing.TB, m *Machine, want Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	got, err := m.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("the machine ended with %v, want %v; %+v", got, want, m.Stats())
	}
}

// result reads a word that the guest stored.
func result(t testing.TB, m *Machine, addr uint64) uint32 {
	t.Helper()
	v, err := m.DMA().Load32(addr)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWaysToEnd(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *payload.Program)
		want Outcome
		log  string // what the log says of it
	}{
		{"power-off by PM1 control", func(p *payload.Program) { p.PowerOff() }, PowerOff, ""},
		{"reset by port 0xcf9", func(p *payload.Program) { p.Out8(0xcf9, 0x02); p.Out8(0xcf9, 0x06) }, Reset, `by="reset control register"`},
		{"reset by the keyboard controller", func(p *payload.Program) { p.Out8(0x64, 0xfe) }, Reset, `by="keyboard controller"`},
		{"reset by port 0x92", func(p *payload.Program) { p.Out8(0x92, 0x01) }, Reset, `by="port 0x92"`},
		{"triple fault", func(p *payload.Program) { p.TripleFault() }, Reset, `by="triple fault" vcpu=0 rip=0x`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := payload.New()
			tt.do(p)
			p.Halt()
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			runTo(t, newMachine(t, p, Config{Logger: logger}), tt.want)
			if !strings.Contains(log.String(), tt.log) {
				t.Errorf("the log has no %s:\n%s", tt.log, log.String())
			}
		})
	}
}

func TestSerialPorts(t *testing.T) {
	p := payload.New()
	for _, c := range "first" {
		p.WaitPort8(payload.COM1+5, 0x20, 0x20) // transmitter empty
		p.Out8(payload.COM1, uint8(c))
	}
	p.OutString(payload.COM2, "second")
	p.PowerOff()
	var com1, com2 bytes.Buffer
	m := newMachine(t, p, Config{Serial: []SerialConfig{{Out: &com1}, {Out: &com2}}})
	runTo(t, m, PowerOff)
	if com1.String() != "first" || com2.String() != "second" {
		t.Errorf("COM1 got %q, COM2 got %q", com1.String(), com2.String())
	}
}

func TestSerialInputWakesTheGuest(t *testing.T) {
	const (
		vector        = 0x44
		receiveEnable = 1
		modemOut2     = 8
		data          = payload.COM1
		ier, iir, mcr = payload.COM1 + 1, payload.COM1 + 2, payload.COM1 + 4
	)
	p := payload.New()
	got, n := p.Word(), p.Word()
	p.OnInterrupt(vector, func() {
		p.In8(iir)
		p.In8(data)
		p.Save32(got)
		p.Increment32(n)
	})
	p.EnableInterrupts()
	p.RouteIOAPIC(4, vector, false)
	p.Out8(mcr, modemOut2)
	p.Out8(ier, receiveEnable)
	p.Out8(data, '>') // tells the other end to send
	p.HaltUntil32(n, 0xff, 1)
	p.PowerOff()

	in, feed := io.Pipe()
	prompt := writerFunc(func(b []byte) (int, error) {
		go func() {
			_, _ = feed.Write([]byte("x"))
			feed.Close()
		}()
		return len(b), nil
	})
	m := newMachine(t, p, Config{Serial: []SerialConfig{{In: in, Out: prompt}}})
	runTo(t, m, PowerOff)
	if v := result(t, m, got); v != 'x' {
		t.Errorf("the guest received %#x", v)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestUnknownAddressesReadAsOnes(t *testing.T) {
	p := payload.New()
	port, mmio, legacy := p.Word(), p.Word(), p.Word()
	p.In32(0x5678)
	p.Save32(port)
	p.Load32(0xd0000000)
	p.Save32(mmio)
	p.Load32(0xb8000)
	p.Save32(legacy)
	p.Store32(0xd0000000, 1)
	p.Out8(0x5678, 1)
	p.PowerOff()
	m := newMachine(t, p, Config{})
	runTo(t, m, PowerOff)
	for _, addr := range []uint64{port, mmio, legacy} {
		if v := result(t, m, addr); v != 0xffffffff {
			t.Errorf("read %#x", v)
		}
	}
}

func TestConfigurationSpaceOfTheChipset(t *testing.T) {
	p := payload.New()
	tests := []struct {
		slot, fn int
		want     uint32
		at       uint64
	}{
		{slot: 0, fn: 0, want: 0x12378086},
		{slot: 1, fn: 0, want: 0x70008086},
		{slot: 1, fn: 3, want: 0x71138086},
		{slot: 5, fn: 0, want: 0xffffffff},
	}
	for i := range tests {
		tests[i].at = p.Word()
		p.ConfigRead32(tests[i].slot, tests[i].fn, 0)
		p.Save32(tests[i].at)
	}
	pmBase := p.Word()
	p.ConfigRead32(1, 3, 0x40)
	p.Save32(pmBase)
	p.PowerOff()
	m := newMachine(t, p, Config{})
	runTo(t, m, PowerOff)
	for _, tt := range tests {
		if v := result(t, m, tt.at); v != tt.want {
			t.Errorf("%d.%d: identity %#x, want %#x", tt.slot, tt.fn, v, tt.want)
		}
	}
	if v := result(t, m, pmBase); v != 0x601 {
		t.Errorf("the power management ports are said to be at %#x, want 0x601", v)
	}
}

func TestSecondProcessorStarts(t *testing.T) {
	const (
		page    = 0x30000
		alive   = page + 0x800
		segment = page >> 4
	)
	code := []byte{
		0xb8, segment & 0xff, segment >> 8, // mov ax, segment
		0x8e, 0xd8, // mov ds, ax
		0x66, 0xc7, 0x06, 0x00, 0x08, 0x0d, 0x60, 0x00, 0x00, // mov dword [0x800], 0x600d
		0xfa, 0xf4, // cli; hlt
	}
	p := payload.New()
	p.StartProcessor(1, page, code)
	p.Wait32(alive, 0xffffffff, 0x600d)
	p.PowerOff()
	m := newMachine(t, p, Config{CPUs: 2})
	runTo(t, m, PowerOff)
}

func TestStopEndsASleepingGuest(t *testing.T) {
	for name, stop := range map[string]func(m *Machine, cancel func()){
		"Stop":    func(m *Machine, _ func()) { m.Stop() },
		"context": func(_ *Machine, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			p := payload.New()
			p.Out8(payload.COM1, '.')
			p.Halt()
			asleep := make(chan struct{})
			var once sync.Once
			out := writerFunc(func(b []byte) (int, error) {
				once.Do(func() { close(asleep) })
				return len(b), nil
			})
			m := newMachine(t, p, Config{CPUs: 2, Serial: []SerialConfig{{Out: out}}})
			ctx, cancel := context.WithTimeout(t.Context(), runLimit)
			defer cancel()
			go func() {
				<-asleep
				stop(m, cancel)
			}()
			if got, err := m.Run(ctx); got != Stopped || err != nil {
				t.Errorf("%v, %v", got, err)
			}
			if ctx.Err() == context.DeadlineExceeded {
				t.Error("the guest did not stop before the test's own limit")
			}
		})
	}
}

func TestFailureIsOneClearLine(t *testing.T) {
	if r := kvm.Probe(); r.Class != kvm.ClassInterpreting {
		t.Skipf("needs a KVM that can't execute an instruction, this one is %s", r.Class)
	}
	p := payload.New()
	p.Raw(0xd9, 0xe8) // fld1
	m := newMachine(t, p, Config{})
	got, err := m.Run(t.Context())
	if got != Failed || err == nil {
		t.Fatalf("%v, %v", got, err)
	}
	want := fmt.Sprintf("vCPU 0: KVM can't emulate an instruction at rip %#x (bytes d9 e8", payload.Base)
	if s := err.Error(); !strings.HasPrefix(s, want) || strings.Contains(s, "\n") {
		t.Errorf("got  %q\nwant %q...", s, want)
	}
}

func TestBadConfigurations(t *testing.T) {
	kernel := payload.New().Kernel()
	tests := []struct {
		name string
		c    Config
		want string
	}{
		{"no processor", Config{Memory: 16 * mib, Kernel: kernel}, "0 processors: must be 1 to "},
		{"too many processors", Config{Memory: 16 * mib, CPUs: 5000, Kernel: kernel}, "5000 processors: must be 1 to "},
		{"serial ports", Config{Memory: 16 * mib, CPUs: 1, Serial: make([]SerialConfig, 3)}, "3 serial ports: at most 2"},
		{"no memory", Config{CPUs: 1, Kernel: kernel}, "memory of "},
	}
	for _, tt := range tests {
		m, err := New(tt.c)
		if err == nil {
			m.Close(t.Context())
			t.Errorf("%s: accepted", tt.name)
			continue
		}
		skipWithoutKVM(t, err)
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q does not say %q", tt.name, err, tt.want)
		}
	}
}

func TestMissingKernelIsReported(t *testing.T) {
	m := newMachine(t, nil, Config{})
	if got, err := m.Run(t.Context()); got != Failed || err == nil || !strings.Contains(err.Error(), "kernel") {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := m.Run(t.Context()); got != Failed || err == nil {
		t.Errorf("a second run: %v, %v", got, err)
	}
}

func TestStatsTellWhereExitsGo(t *testing.T) {
	p := payload.New()
	p.Repeat(7, func() { p.Out8(payload.COM1+7, 1) })
	p.Repeat(3, func() { p.Store32(0xd0000000, 1) })
	p.PowerOff()
	m := newMachine(t, p, Config{Serial: []SerialConfig{{}}})
	runTo(t, m, PowerOff)
	s := m.Stats()
	if s.Exits["io"] != 8 || s.Exits["mmio"] != 3 || s.Accesses() != 11 {
		t.Errorf("exits %v, want 8 io and 3 mmio", s.Exits)
	}
	if r := s.Ports[0]; r.Name != "COM1" || r.Writes != 7 || r.Reads != 0 || r.Base != payload.COM1 {
		t.Errorf("busiest port range is %+v", r)
	}
	if r := s.Memory[0]; r.Name != "" || r.Writes != 3 {
		t.Errorf("busiest memory range is %+v", r)
	}
}

func TestACPITablesCanBeFound(t *testing.T) {
	p := payload.New()
	p.PowerOff()
	m := newMachine(t, p, Config{CPUs: 3, Serial: make([]SerialConfig, 2)})
	runTo(t, m, PowerOff)
	rsdp := make([]byte, 36)
	if err := m.DMA().ReadAt(rsdp, 0xe0000); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(rsdp, []byte("RSD PTR ")) {
		t.Fatalf("no root pointer at 0xe0000: % x", rsdp)
	}
	xsdt := make([]byte, 36)
	if err := m.DMA().ReadAt(xsdt, binary.LittleEndian.Uint64(rsdp[24:])); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(xsdt, []byte("XSDT")) {
		t.Errorf("no XSDT where the root pointer says: % x", xsdt)
	}
}

var _ pci.Platform = (*platform)(nil)

// A machine without a screen has no keyboard that a guest would look for.
func TestKeyboardComesWithTheScreen(t *testing.T) {
	m := newMachine(t, nil, Config{})
	if c := m.acpiConfig(); c.Keyboard || c.Mouse || c.VGA {
		t.Errorf("without a screen: %+v", c)
	}
	rom := make([]byte, 1024)
	copy(rom, []byte{0x55, 0xAA, 2})
	m = newMachine(t, nil, Config{BIOS: &BIOS{Image: tinyBIOS(), VGA: bytes.NewReader(rom)}})
	if c := m.acpiConfig(); !c.Keyboard || !c.Mouse || !c.VGA {
		t.Errorf("with a screen: %+v", c)
	}
}

// Who is notified of the end may take its time: Run waits for it, though it was another
// goroutine that ended the machine, and nobody loses the event by what follows Run.
func TestRunReturnsAfterTheEndWasTold(t *testing.T) {
	p := payload.New()
	p.Halt()
	var told atomic.Bool
	m := newMachine(t, p, Config{
		Notify: func(e Event) {
			if _, ok := e.(Ended); ok {
				time.Sleep(20 * time.Millisecond)
				told.Store(true)
			}
		},
	})
	time.AfterFunc(time.Millisecond, m.Stop)
	runTo(t, m, Stopped)
	if !told.Load() {
		t.Error("Run returned before the end was told")
	}
}
