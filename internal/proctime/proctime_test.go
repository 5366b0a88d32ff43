package proctime

import (
	"os"
	"testing"
	"time"
)

func TestCPUGrowsWithWork(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const work = 20 * time.Millisecond
	for begun := time.Now(); ; {
		after, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after-before >= work {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("%v of CPU time after a minute of work", after-before)
		}
	}
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that there is not has used CPU time")
	}
}
