package kvm

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The kernel counts exits of a vCPU, which can be read while it runs.
func TestStatistics(t *testing.T) {
	v := testCPU(t,
		0xe4, 0x80, // in al, 0x80
		0xeb, 0xfc, // jmp back
	)
	read := func() map[string]Statistic {
		list, err := v.Statistics()
		if errors.Is(err, ErrNoStatistics) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]Statistic{}
		for _, s := range list {
			named[s.Name] = s
		}
		return named
	}
	before := read()
	const exits = 10
	for range exits {
		runTo(t, v, ExitIO)
	}
	const kind = "exits" // of any kind: which ones there are depends on the processor
	if got := read()[kind]; got.Kind != Cumulative || got.Unit != Times || len(got.Values) != 1 || got.Values[0] < before[kind].Values[0]+exits {
		t.Errorf("%+v, and before %+v", got, before[kind])
	}
	// Times of halts are in nanoseconds, their distribution is in powers of two.
	if s := read()["halt_poll_fail_ns"]; s.Unit != Seconds || s.Base != 10 || s.Exponent != -9 {
		t.Errorf("%+v", s)
	}
	if s := read()["halt_wait_hist"]; s.Kind != LogHistogram || len(s.Values) < 2 {
		t.Errorf("%+v", s)
	}
	var over atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		v.Enter()
		defer v.Leave()
		for !over.Load() {
			if _, err := v.Run(); err != nil && !errors.Is(err, ErrInterrupted) {
				t.Error(err)
				return
			}
		}
	})
	for deadline := time.Now().Add(time.Minute); read()[kind].Values[0] < before[kind].Values[0]+3*exits; {
		if time.Now().After(deadline) {
			t.Fatal("the kernel does not count")
		}
	}
	over.Store(true)
	running.Wait()
}

func TestStatisticsOfTheMachine(t *testing.T) {
	vm, _ := testVM(t, false)
	list, err := vm.Statistics()
	if errors.Is(err, ErrNoStatistics) {
		t.Skip(err)
	}
	if err != nil || !slices.ContainsFunc(list, func(s Statistic) bool { return s.Name == "remote_tlb_flush" }) {
		t.Errorf("%+v, %v", list, err)
	}
}
