// Package memory is the RAM of a guest: ranges of guest-physical addresses with
// host memory behind them, and checked access to it.
//
// The host memory is outside Go's heap, takes no space until it is touched unless
// that is asked for, and is left out of core dumps. A range's host address and its
// guest-physical address are equal modulo 2 MiB, so that the host can back it
// with huge pages.
//
// # Concurrency
//
// All methods but Close may be called from any goroutine. The guest changes its
// memory at any time: nothing that was read may be read again and be expected to
// be the same, and only Load32 and Store32 promise not to tear.
package memory

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	pageSize     = 4 << 10
	hugePageSize = 2 << 20
	maxSize      = 1 << 46 // more than a process can map
)

// Range is a range of guest-physical addresses, in bytes.
type Range struct {
	Base, Size uint64
}

// Options choose how the host provides the memory.
type Options struct {
	// HugePages asks for transparent huge pages: fewer and faster page faults,
	// but memory is taken in units of 2 MiB.
	HugePages bool
	// Prealloc takes all memory from the host at once, so that the guest never waits
	// for a page, and a lack of memory shows at the start.
	Prealloc bool
	// PoolPage, if not 0, takes pages of that many bytes from the pool that the host
	// reserved for them (hugetlb), 2 MiB or 1 GiB. They are a file, as with Shared,
	// and as many as it takes are the memory's own from New on.
	PoolPage uint64
	// Shared backs it with an anonymous file that other processes can map.
	Shared bool
}

// page is the size of the largest pages that the memory may be mapped with.
func (o Options) page() uint64 { return max(hugePageSize, o.PoolPage) }

// Slot is a range of RAM with the host memory behind it.
type Slot struct {
	Base uint64
	Mem  []byte
}

func (s *Slot) last() uint64 { return s.Base + uint64(len(s.Mem)) - 1 }

// Memory is guest RAM.
type Memory struct {
	mapping []byte
	options Options
	file    *os.File // of shared memory, or nil
	slots   []Slot   // by address, not overlapping, not empty
}

// New maps RAM for ranges, all page aligned and apart from each other. Their
// contents are zero.
func New(ranges []Range, o Options) (*Memory, error) {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int {
		if a.Base < b.Base {
			return -1
		}
		return 1
	})
	offsets, total, err := place(ranges, o.page())
	if err != nil {
		return nil, err
	}
	m := &Memory{options: o}
	if o.PoolPage == 0 {
		// The mapping is too large by a huge page, so that it can begin on one.
		total += hugePageSize
	}
	if err := m.mapBytes(int(total)); err != nil {
		return nil, fmt.Errorf("map %d bytes of guest memory: %w", total, err)
	}
	mapping := m.mapping
	aligned := mapping[padding(mapping):]
	for i, r := range ranges {
		m.slots = append(m.slots, Slot{r.Base, aligned[offsets[i] : offsets[i]+r.Size : offsets[i]+r.Size]})
	}
	if err := errors.Join(m.advise(o), m.populate()); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// mapBytes maps n bytes as the options say.
func (m *Memory) mapBytes(n int) (err error) {
	fd, flags := -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE
	if m.options.Shared || m.options.PoolPage > 0 {
		if fd, err = unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|poolFlags(m.options.PoolPage)); err != nil {
			return poolError(m.options.PoolPage, n, err)
		}
		m.file = os.NewFile(uintptr(fd), "guest-memory")
		flags = unix.MAP_SHARED
		if m.options.PoolPage == 0 {
			flags |= unix.MAP_NORESERVE
		}
		if err := m.file.Truncate(int64(n)); err != nil {
			return errors.Join(err, m.file.Close())
		}
		// Nobody who gets the file can make accesses here fail by cutting it.
		const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			return errors.Join(err, m.file.Close())
		}
	}
	if m.mapping, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags); err != nil && m.file != nil {
		err = errors.Join(poolError(m.options.PoolPage, n, err), m.file.Close())
	}
	return err
}

// populate takes all memory from the host if that is wished.
func (m *Memory) populate() error {
	if !m.options.Prealloc {
		return nil
	}
	for _, s := range m.slots {
		if err := unix.Madvise(s.Mem, unix.MADV_POPULATE_WRITE); err != nil {
			return fmt.Errorf("take %d bytes of guest memory from the host: %w", len(s.Mem), err)
		}
	}
	return nil
}

// place gives each range an offset in the mapping that is equal to its address modulo
// the size of a huge page, and checks the ranges. Ranges that one such page can hold
// share it.
func place(ranges []Range, page uint64) (offsets []uint64, total uint64, err error) {
	var end uint64 // first address after the range before
	for i, r := range ranges {
		switch {
		case r.Size == 0 || r.Base%pageSize != 0 || r.Size%pageSize != 0:
			return nil, 0, fmt.Errorf("memory range of %#x bytes at %#x: not whole pages", r.Size, r.Base)
		case r.Base+r.Size < r.Base || r.Size > maxSize || total > maxSize:
			return nil, 0, fmt.Errorf("memory range of %#x bytes at %#x: too large", r.Size, r.Base)
		case i > 0 && r.Base < end:
			return nil, 0, fmt.Errorf("memory range at %#x: overlaps the one before", r.Base)
		}
		if i > 0 && r.Base/page <= end/page {
			total += r.Base - end
		} else {
			total = (total+page-1)&^(page-1) + r.Base%page
		}
		end = r.Base + r.Size
		offsets = append(offsets, total)
		total += r.Size
	}
	if total == 0 {
		return nil, 0, fmt.Errorf("memory without ranges")
	}
	return offsets, (total + page - 1) &^ (page - 1), nil
}

// advise tells the kernel how to treat the mapping.
func (m *Memory) advise(o Options) error {
	if err := unix.Madvise(m.mapping, unix.MADV_DONTDUMP); err != nil {
		return fmt.Errorf("keep guest memory out of core dumps: %w", err)
	}
	if !o.HugePages {
		return nil
	}
	if err := unix.Madvise(m.mapping, unix.MADV_HUGEPAGE); err != nil {
		return fmt.Errorf("ask for huge pages: %w", err)
	}
	return nil
}

// WillWrite tells the host that n bytes at addr are about to be written: what huge
// pages can hold of it is better there, where the host leaves that to those who ask.
// It is a hint only.
func (m *Memory) WillWrite(addr, n uint64) {
	for _, s := range m.slots {
		if addr < s.Base || addr-s.Base > uint64(len(s.Mem)) || n > uint64(len(s.Mem))-(addr-s.Base) {
			continue
		}
		// Host and guest addresses are equal modulo the size of a huge page.
		from, to := (addr+hugePageSize-1)&^(hugePageSize-1), (addr+n)&^(hugePageSize-1)
		if from < to {
			_ = unix.Madvise(s.Mem[from-s.Base:to-s.Base], unix.MADV_HUGEPAGE) // a host without them has small pages
		}
	}
}

// Slots lists the RAM, by address.
func (m *Memory) Slots() []Slot { return slices.Clone(m.slots) }

// Clear makes all contents zero again, and gives the host memory back until it is
// touched, unless it is from a pool. The machine must not run, and no window may be in use.
func (m *Memory) Clear() error {
	if m.options.PoolPage > 0 {
		for _, s := range m.slots {
			clear(s.Mem) // pages that are given back may be gone
		}
		return nil
	}
	advice := unix.MADV_DONTNEED
	if m.file != nil {
		advice = unix.MADV_REMOVE // from the file, not from the mapping alone
	}
	if err := unix.Madvise(m.mapping, advice); err != nil {
		return fmt.Errorf("clear guest memory: %w", err)
	}
	return m.populate()
}

// Close gives the memory back. No window may be in use, and the machine must
// not run any more.
func (m *Memory) Close() error {
	m.slots = nil
	err := unix.Munmap(m.mapping)
	if m.file != nil {
		err = errors.Join(err, m.file.Close())
	}
	return err
}
