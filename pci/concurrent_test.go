package pci_test

import (
	"runtime"
	"sync"
	"testing"
)

// TestConcurrentUse drives a function from vCPUs and from its device at once. The
// race detector judges the accesses; in the end nothing may be lost.
func TestConcurrentUse(t *testing.T) {
	const rounds = 300
	m, f, d := newMSIX(t)
	other := newController()
	attach(t, m, 13, other) // the same line
	var wg sync.WaitGroup
	run := func(step func(i int)) {
		wg.Go(func() {
			for i := range rounds {
				step(i)
			}
		})
	}
	run(func(i int) { f.Signal(i % msixVectors); f.SetINTx(i%2 == 0); f.Mode() })
	run(func(i int) { f.Signal(i % msixVectors); other.SetINTx(i%2 == 0); f.BusMaster() })
	run(func(i int) { m.write32(window+msixTable+12+16*uint64(i%msixVectors), uint32(i&1)) })
	run(func(i int) { m.read32(window + msixPBA); m.read32(window + msixTable) })
	run(func(i int) { f.WriteConfig(msixCap+3, []byte{byte(0x80 | i&1<<6)}) })
	run(func(i int) { f.WriteConfig(bar2, []byte{byte(i & 1), 0, 0, 0}) })
	run(func(i int) { f.WriteConfig(command, []byte{byte(cmdMemory | i&1*cmdMaster)}) })
	run(func(i int) { m.bus.Detach(13, 0); _ = m.bus.Attach(13, 0, other) })
	run(func(i int) { m.bus.Reroute(); m.bus.RetryDecode(); d.read(0, 4) })
	wg.Wait()

	f.WriteConfig(bar2, make([]byte, 4))
	f.WriteConfig(command, []byte{cmdMemory | cmdMaster})
	f.WriteConfig(msixCap+3, []byte{0x80})
	for n := range uint64(msixVectors) {
		m.write32(window+msixTable+12+16*n, 0)
	}
	if got := m.read32(window + msixPBA); got != 0 {
		t.Errorf("messages stayed pending with nothing masked: %#x", got)
	}
	f.WriteConfig(msixCap+3, []byte{0})
	f.SetINTx(true)
	other.SetINTx(false)
	if !m.line(21) {
		t.Error("the line is low though a function asserts it")
	}
	f.SetINTx(false)
	if m.line(21) {
		t.Error("the line is high though no function asserts it")
	}
}

// TestNoMessageIsLost masks and unmasks while messages are sent: every Signal
// must be followed by exactly one message.
func TestNoMessageIsLost(t *testing.T) {
	m, f, _ := newMSIX(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint32(0); ; i++ {
			m.write32(window+msixTable+12, i&1)
			runtime.Gosched() // there may be one processor
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for i := range 2000 {
		f.Signal(0)
		got := 0
		for got == 0 { // a message that is lost makes the test time out
			got = len(m.sent())
			runtime.Gosched()
		}
		if got != 1 {
			t.Fatalf("signal %d: %d messages", i, got)
		}
	}
}
