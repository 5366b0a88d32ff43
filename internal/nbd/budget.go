package nbd

import (
	"sync"
	"unsafe"
)

// connectionBudget is how many bytes of payload a connection may have in memory.
const connectionBudget = 4 << 20

// buffer is memory for a payload.
type buffer struct {
	mem   []byte
	class int // index in classes
}

// pageSize is what buffers are aligned to, so that they can go to storage that
// bypasses the page cache.
const pageSize = 4096

// classes are the sizes of buffers, pages and powers of two.
var classes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10, pieceSize}

// bufferPool keeps buffers that nobody uses, by class.
type bufferPool [len(classes)]sync.Pool

// get returns a buffer of n bytes, at most pieceSize, with any contents.
func (p *bufferPool) get(n int64) *buffer {
	class := 0
	for int64(classes[class]) < n {
		class++
	}
	b, _ := p[class].Get().(*buffer)
	if b == nil {
		raw := make([]byte, classes[class]+pageSize)
		skip := (pageSize - int(uintptr(unsafe.Pointer(&raw[0]))&(pageSize-1))) & (pageSize - 1)
		b = &buffer{mem: raw[skip : skip+classes[class] : skip+classes[class]], class: class}
	}
	b.mem = b.mem[:n]
	return b
}

func (p *bufferPool) put(b *buffer) {
	b.mem = b.mem[:cap(b.mem)]
	p[b.class].Put(b)
}

// budget bounds the payload bytes of a connection.
type budget struct {
	pool *bufferPool

	mu   sync.Mutex
	cond sync.Cond
	left int64 // guarded by mu
}

// has reports whether n bytes can be taken without waiting.
func (g *budget) has(n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left >= n
}

// restore gives back what was reserved.
func (g *budget) restore(n int64) {
	g.mu.Lock()
	g.left += n
	if g.cond.L != nil {
		g.cond.Broadcast()
	}
	g.mu.Unlock()
}

// take returns a buffer of n bytes, at most pieceSize, and waits until the budget
// allows it.
func (g *budget) take(n int64) *buffer {
	g.reserve(n)
	return g.pool.get(n)
}

// reserve is take for what needs no buffer.
func (g *budget) reserve(n int64) {
	g.mu.Lock()
	for g.left < n {
		if g.cond.L == nil {
			g.cond.L = &g.mu
		}
		g.cond.Wait()
	}
	g.left -= n
	g.mu.Unlock()
}

// tryReserve is reserve if it need not wait.
func (g *budget) tryReserve(n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left < n {
		return false
	}
	g.left -= n
	return true
}

// give takes a buffer back; nil is allowed.
func (g *budget) give(b *buffer) {
	if b == nil {
		return
	}
	n := int64(len(b.mem))
	g.pool.put(b)
	g.restore(n)
}
