package memory

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Page is a page of memory by itself, which is not RAM.
type Page struct{ mem []byte }

// NewPage maps a page of zeroes.
func NewPage() (*Page, error) {
	mem, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map a page: %w", err)
	}
	return &Page{mem}, nil
}

// Bytes is the page as the memory of a slot.
func (p *Page) Bytes() []byte { return p.mem }

// Words is the page as what changes while a guest reads it.
func (p *Page) Words() *[pageSize / 8]atomic.Uint64 { return words(p.mem) }

// Close gives the page back. Nobody may use it any more.
func (p *Page) Close() error { return unix.Munmap(p.mem) }
