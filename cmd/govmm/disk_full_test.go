package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/mfi"
)

// What a guest writes to the disk of fullDisk.
const (
	fullCluster  = 64 << 10
	fullBlock    = 512
	fullClusters = 20
)

// fullData is it: a cluster begins a block later than the one before.
func fullData() []byte {
	data := make([]byte, fullCluster+fullClusters*fullBlock)
	for i := range data {
		data[i] = byte(1 + i/fullBlock)
	}
	return data
}

// fullDisk runs a guest that writes to a disk in an image for which the host has only
// half of the room. With again it writes until it is told that that was done; else
// once, and ends if it was not. The function returned makes room.
func fullDisk(t *testing.T, again bool, keys string) (m *testMachine, image string, makeRoom func()) {
	const statusMask = 0xff << 16
	data := fullData()
	p := whenPressed(1, func(p *payload.Program) {
		startRAID(p)
		buffer := p.Data(data, 4096)
		for i := range uint64(fullClusters) {
			frame := p.Data(mfi.Fields{
				Cmd: mfi.CmdLDWrite, Target: 1, DataLen: fullCluster / fullBlock, LBA: i * fullCluster / fullBlock, Flags: mfi.FlagDontPost,
				SGL: []mfi.SGE{{Addr: buffer + i*fullBlock, Len: fullCluster}},
			}.Marshal(), 64)
			write := func() {
				p.Store8(frame+2, uint8(mfi.StatusPending))
				p.Out32(raidQueue, uint32(frame)|1)
				p.WaitOther32(frame, statusMask, uint32(mfi.StatusPending)<<16)
			}
			if again {
				p.Until32(frame, statusMask, uint32(mfi.StatusOK)<<16, write)
				continue
			}
			write()
		}
	})
	dir := smallFileSystem(t, 4<<20)
	image, ballast := filepath.Join(dir, "image"), filepath.Join(dir, "ballast")
	if status, _, stderr := govmm("img", "create", "-q", image, "64M"); status != 0 {
		t.Fatal(stderr)
	}
	fillUp(t, ballast, 8*fullCluster)
	return startMachine(t, p, "--disk", "path="+image+",id=data"+keys), image, func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	}
}

// wantWritten checks an image of fullDisk after the guest has ended.
func wantWritten(t *testing.T, image string) {
	t.Helper()
	if status, stdout, stderr := govmm("img", "check", image); status != 0 {
		t.Errorf("afterwards: %s%s", stdout, stderr)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if status, _, stderr := govmm("img", "convert", "-O", "raw", image, raw); status != 0 {
		t.Fatal(stderr)
	}
	got, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	data := fullData()
	for i := range fullClusters {
		if !bytes.Equal(got[i*fullCluster:][:fullCluster], data[i*fullBlock:][:fullCluster]) {
			t.Errorf("cluster %d is not what was written", i)
		}
	}
}

// A disk whose image the host has no room for refuses what needs more, which is told.
// A guest that asks again goes on when there is room, and nothing that was ever
// accepted is lost.
func TestDiskFull(t *testing.T) {
	m, image, makeRoom := fullDisk(t, true, ",werror=report")
	c, err := qmp.Dial(t.Context(), m.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.ctl("shutdown")
	full := false
	for e := range c.Events() {
		if full || e.Name != "BLOCK_IO_ERROR" {
			continue
		}
		full = true
		var d ioErrorData
		if err := json.Unmarshal(e.Data, &d); err != nil || d.Device != "data" || d.Operation != operationWrite || d.Action != ioErrorReport || !d.NoSpace {
			t.Errorf("%s, %v", e.Data, err)
		}
		var list []blockStats
		if m.do("query-blockstats", "{}", &list); list[1].Stats.FailedWrites+list[1].Stats.FailedFlushes == 0 {
			t.Errorf("no failures among %+v", list[1])
		}
		makeRoom()
	}
	if !full {
		t.Error("there was room for all")
	}
	m.wantEnd(0)
	wantWritten(t, image)
}

// A machine whose disk has no room stops, and says why. It goes on when it is told to,
// by whatever way, stops again while there is no room, and then does what the guest
// asked for once.
func TestDiskFullStops(t *testing.T) {
	kill := func(sig syscall.Signal) { _ = syscall.Kill(os.Getpid(), sig) }
	for name, goOn := range map[string]func(m *testMachine, stops int){
		"cont":    func(m *testMachine, _ int) { m.ctl("cont") },
		"SIGCONT": func(*testMachine, int) { kill(syscall.SIGCONT) },
		"SIGTERM": func(_ *testMachine, stops int) {
			if stops == 1 {
				kill(syscall.SIGTERM) // a second one would end the machine
			} else {
				kill(syscall.SIGCONT)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, image, makeRoom := fullDisk(t, false, "")
			c, err := qmp.Dial(t.Context(), m.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m.ctl("shutdown")
			var list []string
			stops := 0
			for e := range c.Events() {
				if e.Name == "MEGASAS_EVENT" || e.Name == "POWERDOWN" {
					continue
				}
				if e.Name == "BLOCK_IO_ERROR" {
					var d ioErrorData
					if err := json.Unmarshal(e.Data, &d); err != nil || d.Device != "data" || d.Operation != operationWrite || d.Action != ioErrorStop || !d.NoSpace {
						t.Errorf("%s, %v", e.Data, err)
					}
					continue // what happens often is told once a second
				}
				list = append(list, e.Name)
				if e.Name != "STOP" {
					continue
				}
				var s statusInfo
				if m.do("query-status", "{}", &s); s.Status != stateIOError || s.Running {
					t.Errorf("the machine is %+v", s)
				}
				var disks []blockInfo
				if m.do("query-block", "{}", &disks); disks[0].IOStatus != ioStatusOK || disks[1].IOStatus != ioStatusNoSpace {
					t.Errorf("disks %+v", disks)
				}
				if stops++; stops == 2 {
					makeRoom()
				}
				goOn(m, stops)
			}
			m.wantEnd(0)
			if got, want := strings.Join(list, " "), "STOP RESUME STOP RESUME SHUTDOWN"; got != want {
				t.Errorf("events %s, want %s", got, want)
			}
			if text := m.stderr.String(); !strings.Contains(text, "the machine is paused") || !strings.Contains(text, "disk=data file="+image) || !strings.Contains(text, "no space left on device") {
				t.Errorf("it says %q", text)
			}
			wantWritten(t, image)
		})
	}
}

// The end of a machine that waits for room does not wait for that.
func TestDiskFullEnds(t *testing.T) {
	for _, way := range []string{"quit", "reset", "remove"} {
		t.Run(way, func(t *testing.T) {
			m, image, _ := fullDisk(t, false, "")
			c, err := qmp.Dial(t.Context(), m.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m.ctl("shutdown")
			for e := range c.Events() {
				switch {
				case e.Name == "RESET":
					var s statusInfo
					if m.do("query-status", "{}", &s); s.Running {
						t.Errorf("after the reset the machine is %+v", s)
					}
					var disks []blockInfo
					if m.do("query-block", "{}", &disks); disks[1].IOStatus != ioStatusOK {
						t.Errorf("after the reset the disks are %+v", disks)
					}
					m.ctl("quit")
				case e.Name != "STOP":
				case way == "quit":
					m.ctl("quit")
				case way == "reset":
					m.ctl("reset")
				case way == "remove":
					m.ctl("disk", "remove", "data")
					m.ctl("cont") // the guest is told that its disk is gone
				}
			}
			m.wantEnd(0)
			if status, stdout, stderr := govmm("img", "check", image); status != 0 && status != 3 {
				t.Errorf("afterwards: status %d, %s%s", status, stdout, stderr)
			}
		})
	}
}
