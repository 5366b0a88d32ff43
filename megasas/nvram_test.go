package megasas

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// withNVRAM is a controller with one disk and an NVRAM in a file.
func withNVRAM(path string, log *slog.Logger) Config {
	cfg, _ := oneDisk()
	cfg.NVRAM, cfg.Logger = NVRAMFile(path), log
	return cfg
}

func closeNow(t *testing.T, g *guest) {
	t.Helper()
	if err := g.c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// eventsOf are all events of the log, by EVENT_GET.
func eventsOf(g *guest) []byte {
	const room = 1 << 18
	p := memory(g.mustDCMD(mfi.OpCtrlEventGet, 8+room, logged(0, 0xfe00ffff)...))
	return p[8 : 8+256*p.u32(0)]
}

// TestNVRAMKeepsSettingsAndLog closes a controller and makes another with the
// same NVRAM.
func TestNVRAMKeepsSettingsAndLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	g := running(t, withNVRAM(path, nil), 16)
	p := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	p[0x08] = 77 // rebuild rate
	if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	p = bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	before := bytes.Clone(eventsOf(g))
	last := newest(g)
	closeNow(t, g)

	g = running(t, withNVRAM(path, nil), 16)
	if now := g.mustDCMD(mfi.OpCtrlGetProperties, 64); !bytes.Equal(now, p) {
		t.Errorf("properties are\n% x, were\n% x", now, p)
	}
	after := eventsOf(g)
	if !bytes.HasPrefix(after, before) {
		t.Error("the log does not start with the events of the first life")
	}
	next := memory(after[len(before):])
	if next.u32(0) != last+1 || next.u32(8) != uint32(mfi.EventFWInitStarted) {
		t.Errorf("the second life starts with event %d of code %#x, want %d and the start of the firmware",
			next.u32(0), next.u32(8), last+1)
	}
	if boot := memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20)).u32(16); boot != last+1 {
		t.Errorf("boot sequence number %d, want %d", boot, last+1)
	}
}

// TestNVRAMAfterCrash makes a second controller of the NVRAM while the first has
// not closed: the settings that the guest was told are set are there, and no
// sequence number is given out again.
func TestNVRAMAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	g := running(t, withNVRAM(path, nil), 16)
	p := bytes.Clone(g.mustDCMD(mfi.OpCtrlGetProperties, 64))
	p[0x08] = 55
	if s := g.send(mfi.OpCtrlSetProperties, p); s != mfi.StatusOK {
		t.Fatal(s)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := newest(g)
	crashed := filepath.Join(t.TempDir(), "card.nvram")
	if err := os.WriteFile(crashed, image, 0o600); err != nil {
		t.Fatal(err)
	}
	g = running(t, withNVRAM(crashed, nil), 16)
	if now := g.mustDCMD(mfi.OpCtrlGetProperties, 64); now[0x08] != 55 {
		t.Errorf("rebuild rate %d, want 55", now[0x08])
	}
	if boot := memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20)).u32(16); boot <= last {
		t.Errorf("the log goes on at %d, but %d was given out", boot, last)
	}
	// Readers see no hole: the events on both sides of it, in order.
	seq := uint32(0)
	for e := eventsOf(g); len(e) > 0; e = e[256:] {
		if n := memory(e).u32(0); n <= seq {
			t.Fatalf("event %d after %d", n, seq)
		} else {
			seq = n
		}
	}
}

// TestNVRAMLogStaysBounded fills the log far beyond its size over several lives.
func TestNVRAMLogStaysBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	for range 3 {
		g := running(t, withNVRAM(path, nil), 16)
		for range 600 {
			g.c.logCleared()
			g.c.logScanRequest()
		}
		for range 600 {
			g.c.logScanRequest()
		}
		info := memory(g.mustDCMD(mfi.OpCtrlEventGetInfo, 20))
		if n := info.u32(0) - info.u32(4); n >= eventLogSize {
			t.Fatalf("%d events between the oldest and the newest", n)
		}
		closeNow(t, g)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 300<<10 {
		t.Errorf("the file has %d bytes", info.Size())
	}
}

// TestNVRAMUnreadable starts with contents that cannot be used.
func TestNVRAMUnreadable(t *testing.T) {
	first := mfi.EventLogInfo{Oldest: 1}
	good := (&nvramContents{log: first, properties: &mfi.ControllerProperties{RebuildRate: 77}}).marshal()
	logOf := func(oldest, newest uint32) []byte {
		return (&nvramContents{log: mfi.EventLogInfo{Oldest: oldest, Newest: newest}}).marshal()
	}
	if _, err := parseNVRAM(good); err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(good)
	newer[8]++
	for name, contents := range map[string][]byte{
		"empty":      {},
		"cut off":    good[:len(good)-1],
		"flipped":    append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
		"other file": []byte("#!/bin/sh\necho what is this doing here\n"),
		"newer":      newer,
		// A log that is at the end of its numbers would never come to an end.
		"end of the numbers":         logOf(1<<32-10, 1<<32-2),
		"event log that is reversed": logOf(100, 3),
		"event log from 0":           logOf(0, 3),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "card.nvram")
			if err := os.WriteFile(path, contents, 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			g := running(t, withNVRAM(path, slog.New(slog.NewTextHandler(&log, nil))), 16)
			if p := g.mustDCMD(mfi.OpCtrlGetProperties, 64); p[0x08] != 30 {
				t.Errorf("rebuild rate %d, want the factory's 30", p[0x08])
			}
			if !strings.Contains(log.String(), "NVRAM cannot be read") {
				t.Errorf("no warning: %s", &log)
			}
			kept, err := os.ReadFile(path + ".unreadable-1")
			if err != nil || !bytes.Equal(kept, contents) {
				t.Errorf("kept % x (%v), want % x", kept, err, contents)
			}
			closeNow(t, g)
			if p, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(p, []byte(nvramSeal.magic)) {
				t.Errorf("no new contents: %v", err)
			}
		})
	}
}

// brokenNVRAM cannot be written.
type brokenNVRAM struct{ NVRAM }

func (brokenNVRAM) Save([]byte) error { return errBroken }

// TestNVRAMCannotBeSaved tells the guest that its settings are not safe, and the
// owner at the end.
func TestNVRAMCannotBeSaved(t *testing.T) {
	cfg, _ := oneDisk()
	cfg.NVRAM = brokenNVRAM{NVRAMFile(filepath.Join(t.TempDir(), "card.nvram"))}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.remember(); s != mfi.StatusFlashError {
		t.Errorf("status %v", s)
	}
	if err := c.Close(context.Background()); !errors.Is(err, errBroken) {
		t.Errorf("close: %v", err)
	}
	if _, err := New(Config{NVRAM: NVRAMFile(t.TempDir())}); err == nil {
		t.Error("a directory was taken for an NVRAM")
	}
}

// TestDriveVitals follows a drive over two lives of the controller: hours, power
// cycles, bytes and temperature move, and stay with the drive.
func TestDriveVitals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	make := func() *Controller {
		cfg := nullDisk()
		cfg.NVRAM, cfg.Clock = NVRAMFile(path), func() time.Time { return now }
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := make()
	v := c.physicals[0].Load().vitals
	if temp := v.temperature(); temp != idleTemperature {
		t.Errorf("%d degrees at rest, want %d", temp, idleTemperature)
	}
	unit := c.logicals[0].Load().unit
	read(t, unit, 4096)
	read(t, unit, 4096)
	for range 40 {
		for range 64 {
			read(t, unit, 8192)
		}
		now = now.Add(time.Second)
		v.temperature()
	}
	warm := v.temperature()
	if warm <= idleTemperature || warm > idleTemperature+loadHeating {
		t.Errorf("%d degrees after 40 s of work", warm)
	}
	now = now.Add(3 * time.Hour)
	if temp := v.temperature(); temp != idleTemperature {
		t.Errorf("%d degrees after 3 hours, want %d", temp, idleTemperature)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour) // without power
	c = make()
	v = c.physicals[0].Load().vitals
	now = now.Add(2 * time.Hour)
	r := v.record()
	const bytesRead = (2*4096 + 40*64*8192) * raid.BlockSize
	if r.cycles != 2 || r.seconds/3600 != 5 || r.read != bytesRead {
		t.Errorf("%d power cycles, %d hours, %d bytes read; want 2, 5, %d", r.cycles, r.seconds/3600, r.read, bytesRead)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func FuzzNVRAM(f *testing.F) {
	f.Add((&nvramContents{log: mfi.EventLogInfo{Oldest: 1}, properties: &mfi.ControllerProperties{}, drives: []driveRecord{{serial: "A"}}}).marshal())
	f.Fuzz(func(t *testing.T, p []byte) {
		x, err := parseNVRAM(p)
		if err != nil {
			return
		}
		var s settings
		s.init()
		s.restore(x)
		l := newEventLog(time.Now, func() {})
		l.restore(x)
		l.add(mfi.Event{})
		l.each(0, mfi.Filter(mfi.ClassDebug, mfi.LocaleAll), func(*mfi.Event) bool { return true })
	})
}
