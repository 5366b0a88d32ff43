package qcow2

import "os"

// scale is how much of something a test does: short, or long where
// GOVMM_TEST_LONG is set, as `make test-long` does.
func scale(short, long int) int {
	if os.Getenv("GOVMM_TEST_LONG") != "" {
		return long
	}
	return short
}

// everyNth is how far apart the points are at which a test lets something fail,
// of all that there are: n under the race detector, else 1.
func everyNth(n int) int {
	if raceDetector {
		return scale(n, 1)
	}
	return 1
}
