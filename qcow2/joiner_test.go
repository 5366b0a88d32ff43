package qcow2

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestJoiner has callers come while an execution runs: they share the next one,
// its result, and nothing of the one that runs.
func TestJoiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 10
		var j joiner
		runs := 0
		release := make(chan struct{})
		failure := errors.New("second run")
		run := func() error {
			runs++
			if runs == 1 {
				<-release
				return nil
			}
			return failure
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if leads, err := j.do(run); !leads || err != nil {
				t.Errorf("first caller: %v, %v", leads, err)
			}
		})
		synctest.Wait()
		var mu sync.Mutex
		leaders := 0
		for range callers {
			wg.Go(func() {
				leads, err := j.do(run)
				if !errors.Is(err, failure) {
					t.Errorf("a caller that came later got %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				leaders += int(b2i(leads))
			})
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if runs != 2 || leaders != 1 {
			t.Errorf("%d runs, %d leaders among the later callers; want 2 and 1", runs, leaders)
		}
	})
}
