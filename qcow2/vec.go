package qcow2

// zeroes is what explicit zeroes are written from, by direct transfers too. It is never
// written to.
var zeroes = aligned(zeroPages[:], len(zeroPages)-directAlignment)

var zeroPages [64<<10 + directAlignment]byte

// vecLen is the number of bytes in bufs.
func vecLen(bufs [][]byte) int64 {
	var n int64
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// cursor hands out a caller's scatter-gather list piece by piece, without
// copying data. The slices it returns are valid until the next call.
type cursor struct {
	bufs [][]byte // what is left
	skip int      // bytes of bufs[0] that are used up
	out  [][]byte // scratch that pieces are built in
}

// begin starts a new piece.
func (c *cursor) begin() { c.out = c.out[:0] }

// take appends the next n bytes of the caller's list to the piece.
func (c *cursor) take(n int64) {
	for n > 0 {
		b := c.bufs[0][c.skip:]
		if int64(len(b)) > n {
			b = b[:n]
			c.skip += int(n)
		} else {
			c.bufs, c.skip = c.bufs[1:], 0
		}
		n -= int64(len(b))
		if len(b) > 0 {
			c.out = append(c.out, b)
		}
	}
}

// zero appends n zero bytes to the piece.
func (c *cursor) zero(n int64) {
	for n > 0 {
		step := min(n, int64(len(zeroes)))
		c.out = append(c.out, zeroes[:step])
		n -= step
	}
}

// piece returns what was put together since begin.
func (c *cursor) piece() [][]byte { return c.out }

// next is begin, take and piece in one.
func (c *cursor) next(n int64) [][]byte {
	c.begin()
	c.take(n)
	return c.out
}

// release forgets all of the caller's memory.
func (c *cursor) release() {
	clear(c.out[:cap(c.out)])
	c.bufs, c.out = nil, c.out[:0]
}
