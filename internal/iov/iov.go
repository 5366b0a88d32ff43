// Package iov has the few operations on scatter-gather lists ([][]byte) that
// the layers between a device and its storage share.
//
// A list is the concatenation of its elements; empty elements are allowed. No
// function allocates. The elements are usually guest memory, which may change
// while a function runs: each byte is read or written once.
package iov

import "bytes"

// Len returns the number of bytes in v.
func Len(v [][]byte) int {
	n := 0
	for _, b := range v {
		n += len(b)
	}
	return n
}

// Trim returns the first n bytes of v, all of v if it is shorter. The result
// shares v's array: the element in which the cut falls is shortened in place.
func Trim(v [][]byte, n int) [][]byte {
	for i, b := range v {
		if n <= 0 {
			return v[:i]
		}
		if len(b) >= n {
			v[i] = b[:n]
			return v[:i+1]
		}
		n -= len(b)
	}
	return v
}

// Skip returns v without its first n bytes, nothing if it is shorter. The result
// shares v's array: the element in which the cut falls is shortened in place.
func Skip(v [][]byte, n int) [][]byte {
	for i, b := range v {
		if n < len(b) {
			v[i] = b[max(n, 0):]
			return v[i:]
		}
		n -= len(b)
	}
	return nil
}

// Scatter copies p into v from its start and returns the number of bytes
// copied, the smaller of both lengths.
func Scatter(v [][]byte, p []byte) int {
	n := 0
	for _, b := range v {
		if n == len(p) {
			break
		}
		n += copy(b, p[n:])
	}
	return n
}

// Gather copies the start of v into p and returns the number of bytes copied,
// the smaller of both lengths.
func Gather(p []byte, v [][]byte) int {
	n := 0
	for _, b := range v {
		if n == len(p) {
			break
		}
		n += copy(p[n:], b)
	}
	return n
}

// Reader walks a list from its start to its end. It does not change the list.
type Reader struct {
	rest [][]byte
	head []byte
}

// NewReader returns a Reader at the start of v.
func NewReader(v [][]byte) Reader { return Reader{rest: v} }

// Next returns the next bytes that lie together, at most max of them, and moves
// past them. It returns nil at the end of the list or when max is not positive.
func (r *Reader) Next(max int) []byte {
	for len(r.head) == 0 {
		if len(r.rest) == 0 {
			return nil
		}
		r.head, r.rest = r.rest[0], r.rest[1:]
	}
	if max <= 0 {
		return nil
	}
	n := min(max, len(r.head))
	p := r.head[:n]
	r.head = r.head[n:]
	return p
}

// Mismatch compares the next len(p) bytes with p and moves past those that it
// compared. It returns the index in p of the first byte that differs, or -1 if
// all are equal. A list that ends early differs where it ends.
func (r *Reader) Mismatch(p []byte) int {
	for at := 0; at < len(p); {
		w := r.Next(len(p) - at)
		if w == nil {
			return at
		}
		if q := p[at : at+len(w)]; !bytes.Equal(w, q) {
			return at + diff(w, q)
		}
		at += len(w)
	}
	return -1
}

// diff returns the index of the first byte in which a and b, which have the
// same length, differ. If the guest made them equal again since they were found
// different, that is the last one.
func diff(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a) - 1
}
