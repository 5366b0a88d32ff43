package loglimit

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	var l Limiter
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	count := func(tries int) (allowed int) {
		for range tries {
			if l.Allow(now) {
				allowed++
			}
		}
		return allowed
	}
	if n := count(100); n != Burst {
		t.Errorf("%d lines in the first period, want %d", n, Burst)
	}
	now = now.Add(Period - 1)
	if n := count(1); n != 0 {
		t.Errorf("%d lines before it is over", n)
	}
	now = now.Add(1)
	if n := count(100); n != Burst {
		t.Errorf("%d lines in the next, want %d", n, Burst)
	}
}
