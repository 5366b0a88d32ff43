package qcow2

import (
	"bytes"
	"slices"
	"sync"
)

// scratch keeps large buffers for the next test that needs one. Crash tests go
// through tens of thousands of files; under the race detector memory that is new
// costs several times what using it does.
var scratch struct {
	mu   sync.Mutex
	free [][]byte
}

// borrow returns n bytes with any contents, and room for as many more.
func borrow(n int) []byte {
	scratch.mu.Lock()
	defer scratch.mu.Unlock()
	for i, b := range slices.Backward(scratch.free) {
		if cap(b) >= n {
			scratch.free = slices.Delete(scratch.free, i, i+1)
			return b[:n]
		}
	}
	return make([]byte, n, 2*n+4096)
}

// giveBack takes a buffer that nobody uses any more.
func giveBack(b []byte) {
	const most = 64
	scratch.mu.Lock()
	defer scratch.mu.Unlock()
	if cap(b) > 0 && len(scratch.free) < most {
		scratch.free = append(scratch.free, b)
	}
}

// borrowCopy returns a copy of p.
func borrowCopy(p []byte) []byte {
	b := borrow(len(p))
	copy(b, p)
	return b
}

// grown returns data with n bytes, zero what is new.
func grown(data []byte, n int) []byte {
	have := len(data)
	data = slices.Grow(data, n-have)[:n]
	clear(data[have:])
	return data
}

// differences returns the indices of the bytes in which a and b, of one length,
// differ.
func differences(a, b []byte) []int {
	const block = 1024
	var list []int
	for i := 0; i < len(a); i += block {
		end := min(i+block, len(a))
		if bytes.Equal(a[i:end], b[i:end]) {
			continue
		}
		for j := i; j < end; j++ {
			if a[j] != b[j] {
				list = append(list, j)
			}
		}
	}
	return list
}
