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
