package megasas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// traced drives a controller whose frames are traced, and returns the trace with the
// times and addresses that differ from run to run replaced.
func traced(t *testing.T, c TraceConfig) string {
	t.Helper()
	var out bytes.Buffer
	trace := NewTrace(&out, c)
	cfg := nullDisk()
	cfg.Observer, cfg.Workers = trace, 1
	g := newGuest(t, cfg)
	g.initialize(8)
	x, _ := g.blocks(mfi.CmdLDRead, 0x800, 8192)
	x.Context = 0x12
	x.SGL = []mfi.SGE{{Addr: x.SGL[0].Addr, Len: 4096}, {Addr: x.SGL[0].Addr + 4096, Len: 4096}}
	g.submit(x)
	g.idle()
	g.dcmd(mfi.OpLDGetList, 1032)
	g.scsi(mfi.CmdLDSCSIIO, 0, 36, 0x12, 0, 0, 0, 36, 0)
	g.scsi(mfi.CmdPDSCSIIO, 9, 0, 0xff, 0, 0, 0, 0, 0)
	g.scsi(mfi.CmdLDSCSIIO, 0, 0, 0xff, 0, 0, 0, 0, 0)
	g.c.Faults().Hold(MatchCommand(mfi.CmdLDRead), 1)
	g.post(g.put(x))
	g.await("the held frame", func() bool { return g.c.outstanding.Load() == 0 })
	g.c.Faults().Fault(0x123, 0, false)
	g.post(0x1000)
	g.c.Reset()
	g.post(0xfffffff000)
	g.await("the frame that is not there", func() bool { return g.c.outstanding.Load() == 0 })
	if err := g.c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := trace.Close(); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^[0-9:]{8}\.[0-9]{6}`).ReplaceAllString(out.String(), "TIME")
	text = regexp.MustCompile(`after=[0-9]+us`).ReplaceAllString(text, "after=Nus")
	return regexp.MustCompile(`0x[0-9a-f]{5,}`).ReplaceAllString(text, "ADDR")
}

// A driver's developer finds every frame, what it asked for and what came of it.
func TestTrace(t *testing.T) {
	boot := "BB_INIT FW_INIT FW_INIT_2 DEVICE_SCAN READY"
	states := func(names string) (lines []string) {
		for name := range strings.FieldsSeq(names) {
			lines = append(lines, "TIME state "+name+" word=ADDR")
		}
		return lines
	}
	want := append(states(boot),
		"TIME post 0x1400 ctx=0x0 INIT queue=0x1300 flags=DONT_POST",
		"TIME state OPERATIONAL word=ADDR",
		"TIME done 0x1400 ctx=0x0 INIT OK after=Nus polled",
		"TIME post 0x3600 ctx=0x1 LD_READ target=0 lba=0x800 blocks=16 flags=SGL64|IEEE sgl=0x1600+4096,0x2600+4096",
		"TIME done 0x3600 ctx=0x1 LD_READ OK after=Nus",
		"TIME post 0x3c00 ctx=0x0 DCMD LD_GET_LIST mbox=000000000000000000000000 len=1032 flags=DONT_POST|READ sgl=0x3700+1032",
		"TIME done 0x3c00 ctx=0x0 DCMD LD_GET_LIST OK after=Nus polled",
		`TIME post 0x3f00 ctx=0x0 LD_SCSI_IO target=0 lun=0 cdb=120000002400 op="INQUIRY" len=36 flags=DONT_POST|SGL64|IEEE sgl=0x3e00+36`,
		"TIME done 0x3f00 ctx=0x0 LD_SCSI_IO OK after=Nus polled",
		`TIME post 0x4100 ctx=0x0 PD_SCSI_IO target=9 lun=0 cdb=ff0000000000 op="opcode 0xff" len=0 flags=DONT_POST|SGL64|IEEE`,
		"TIME done 0x4100 ctx=0x0 PD_SCSI_IO DEVICE_NOT_FOUND after=Nus polled",
		`TIME post 0x4300 ctx=0x0 LD_SCSI_IO target=0 lun=0 cdb=ff0000000000 op="opcode 0xff" len=0 flags=DONT_POST|SGL64|IEEE`,
		`TIME done 0x4300 ctx=0x0 LD_SCSI_IO SCSI_DONE_WITH_ERROR scsi="CHECK CONDITION" sense=5/20/00 after=Nus polled`,
		"TIME post 0x4400 ctx=0x12 LD_READ target=0 lba=0x800 blocks=16 flags=SGL64|IEEE sgl=0x1600+4096,0x2600+4096",
		"TIME hold 0x4400 ctx=0x12 LD_READ target=0 lba=0x800 blocks=16 flags=SGL64|IEEE sgl=0x1600+4096,0x2600+4096",
		"TIME state FAULT word=ADDR", // busy; then with the code
		"TIME state FAULT word=ADDR",
		`TIME lost 0x1000 reason="the firmware takes no frames"`,
		"TIME state UNDEFINED word=0x0")
	want = append(append(want, states(boot)...), `TIME lost ADDR reason="not in memory"`)
	if got := traced(t, TraceConfig{}); got != strings.Join(want, "\n")+"\n" {
		t.Errorf("trace\n%s, want\n%s", got, strings.Join(want, "\n"))
	}
}

// The two frames that tunnel other protocols have lists of their own form. FuzzFrame
// found that a trace took that of SMP for STP's, and ended the program.
func TestTraceOfTunnels(t *testing.T) {
	var out bytes.Buffer
	trace := NewTrace(&out, TraceConfig{})
	for _, cmd := range []mfi.Cmd{mfi.CmdSMP, mfi.CmdSTP} {
		for _, flags := range []mfi.Flags{0, mfi.FlagSGL64, mfi.FlagIEEE} {
			f := mfi.Fields{Cmd: cmd, Flags: flags, Target: 3, SGL: []mfi.SGE{{Addr: 0x2000, Len: 20}, {Addr: 0x3000, Len: 512}}}.Marshal()
			trace.FrameFetched(FrameFetched{Frame: f[:f.Len()]})
			trace.flush()
			if want := "target=3 len=0 flags=" + flags.String() + " sgl=0x2000+20,0x3000+512\n"; !strings.HasSuffix(out.String(), want) {
				t.Errorf("%v: %q, want %q", cmd, out.String(), want)
			}
		}
	}
}

// What is on JSON lines is what people see.
func TestTraceInJSON(t *testing.T) {
	var reads, done int
	for line := range strings.Lines(traced(t, TraceConfig{JSON: true})) {
		var x struct {
			Time                     time.Time
			Event, Addr, Cmd, Status string
			Opcode, SCSI, Sense      string
			LBA, Ctx, State, Reason  string
			Blocks, After            int
			SGL                      []struct {
				Addr string
				Len  int
			}
		}
		d := json.NewDecoder(strings.NewReader(line))
		if err := d.Decode(&x); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if time.Since(x.Time).Abs() > time.Hour {
			t.Errorf("time %v", x.Time)
		}
		switch {
		case x.Event == "post" && x.Cmd == "LD_READ":
			reads++
			if x.LBA != "0x800" || x.Blocks != 16 || len(x.SGL) != 2 || x.SGL[1].Len != 4096 {
				t.Errorf("%s: %+v", line, x)
			}
		case x.Event == "done" && x.SCSI == "CHECK CONDITION":
			done++
			if x.Status != "SCSI_DONE_WITH_ERROR" || x.Sense != "5/20/00" {
				t.Errorf("%s: %+v", line, x)
			}
		}
	}
	if reads != 2 || done != 1 {
		t.Errorf("%d reads and %d errors", reads, done)
	}
}

// A trace that can't be written is reported once, ends, and disturbs nobody.
func TestTraceOnAFullDisk(t *testing.T) {
	full := errors.New("no space left on device")
	reader, writer := io.Pipe()
	reader.CloseWithError(full)
	var failed []error
	trace := NewTrace(writer, TraceConfig{Failed: func(err error) { failed = append(failed, err) }})
	cfg := nullDisk()
	cfg.Observer = trace
	g := running(t, cfg, 8)
	for range 2 {
		g.dcmd(mfi.OpLDGetList, 1032)
		trace.flush()
	}
	g.alive()
	if err := trace.Close(); !errors.Is(err, full) || len(failed) != 1 {
		t.Errorf("%v, reported %v", err, failed)
	}
}

// What was traced is written soon though nothing follows, for guests that hang.
func TestTraceIsWrittenSoon(t *testing.T) {
	reader, writer := io.Pipe()
	trace := NewTrace(writer, TraceConfig{})
	trace.StateChanged(uint32(mfi.StateFault))
	line := make([]byte, 100)
	n, err := reader.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), "state FAULT") {
		t.Errorf("%q, %v", line[:n], err)
	}
}

// Tracing costs time, but no memory.
func TestTraceDoesNotAllocate(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		trace := NewTrace(io.Discard, TraceConfig{JSON: asJSON})
		cfg := nullDisk()
		cfg.Observer = trace
		g := running(t, cfg, 1008)
		x, _ := g.blocks(mfi.CmdLDRead, 0, 4096)
		var addrs []uint64
		for i := range 32 {
			x.Context = uint32(i)
			addrs = append(addrs, g.put(x))
		}
		g.keepBusy(addrs, 2000)
		if n := testing.AllocsPerRun(200, func() { g.keepBusy(addrs, 32) }); n > 0 {
			t.Errorf("JSON %v: %v allocations for 32 commands", asJSON, n)
		}
	}
}
