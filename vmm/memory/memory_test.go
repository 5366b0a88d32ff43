package memory

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/govmm/govmm/pci"
	"golang.org/x/sys/unix"
)

var _ pci.DMA = (*Memory)(nil)

// testMemory has a hole, two ranges that touch, and one above 4 GiB.
func testMemory(t testing.TB) *Memory {
	t.Helper()
	m, err := New([]Range{
		{0, 0xa0000},
		{0xc0000, 0x140000},
		{0x200000, 0x100000},
		{1 << 32, 0x10000},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestOnlyRAMCanBeReached(t *testing.T) {
	m := testMemory(t)
	tests := []struct {
		name    string
		addr, n uint64
		windows int // 0: must be refused
	}{
		{"first byte", 0, 1, 1},
		{"whole first range", 0, 0xa0000, 1},
		{"last byte before the hole", 0x9ffff, 1, 1},
		{"into the hole", 0x9ffff, 2, 0},
		{"in the hole", 0xa0000, 1, 0},
		{"across the hole", 0x90000, 0x40000, 0},
		{"across touching ranges", 0x1ffff0, 0x20, 2},
		{"past the end of low RAM", 0x2fffff, 2, 0},
		{"device registers", 0xfee00000, 4, 0},
		{"above 4 GiB", 1 << 32, 0x10000, 1},
		{"past the end of high RAM", 1<<32 + 0xffff, 2, 0},
		{"wraps around", math.MaxUint64, 2, 0},
		{"huge length", 0x1000, math.MaxUint64, 0},
		{"length that wraps to the start", 0x1000, math.MaxUint64 - 0xfff + 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := [][]byte{{1}}
			got, err := m.Append(before, tt.addr, tt.n)
			if tt.windows == 0 {
				var access *AccessError
				if !errors.As(err, &access) || access.Addr != tt.addr || access.Size != tt.n {
					t.Fatalf("got %d windows and error %v", len(got), err)
				}
				if len(got) != 1 {
					t.Errorf("dst has %d elements after an error, want 1", len(got))
				}
				if tt.n < 1<<20 {
					p := make([]byte, tt.n)
					if m.ReadAt(p, tt.addr) == nil || m.WriteAt(p, tt.addr) == nil {
						t.Error("a copy of the same range was allowed")
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var n uint64
			for _, w := range got[1:] {
				if len(w) != cap(w) {
					t.Error("a window can be extended beyond its range")
				}
				n += uint64(len(w))
			}
			if len(got)-1 != tt.windows || n != tt.n {
				t.Errorf("%d windows of %#x bytes, want %d of %#x", len(got)-1, n, tt.windows, tt.n)
			}
		})
	}
}

func TestNothingIsAppendedForNoBytes(t *testing.T) {
	m := testMemory(t)
	got, err := m.Append(nil, 0xa0000, 0)
	if err != nil || len(got) != 0 {
		t.Errorf("%d windows, %v", len(got), err)
	}
}

func TestCopiesCrossTouchingRanges(t *testing.T) {
	m := testMemory(t)
	want := []byte("across the border")
	const addr = 0x200000 - 6
	if err := m.WriteAt(want, addr); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := m.ReadAt(got, addr); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	windows, err := m.Append(nil, addr, uint64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if joined := bytes.Join(windows, nil); !bytes.Equal(joined, want) {
		t.Errorf("windows hold %q, want %q", joined, want)
	}
}

func TestRefusedWriteChangesNothing(t *testing.T) {
	m := testMemory(t)
	if err := m.WriteAt([]byte("overlong"), 0x9fffc); err == nil {
		t.Fatal("a write into the hole was allowed")
	}
	got := make([]byte, 4)
	if err := m.ReadAt(got, 0x9fffc); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("half of it was written: %q", got)
	}
}

func TestWords(t *testing.T) {
	m := testMemory(t)
	const addr = 1<<32 + 0x100
	if err := m.Store32(addr, 0x11223344); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 4)
	if err := m.ReadAt(raw, addr); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, []byte{0x44, 0x33, 0x22, 0x11}) {
		t.Errorf("bytes % x are not little-endian", raw)
	}
	if v, err := m.Load32(addr); err != nil || v != 0x11223344 {
		t.Errorf("%#x, %v", v, err)
	}
	for _, bad := range []uint64{addr + 1, addr + 2, 0xa0000, math.MaxUint64 - 3, 1<<32 + 0x10000} {
		if _, err := m.Load32(bad); err == nil {
			t.Errorf("load at %#x was allowed", bad)
		}
		if err := m.Store32(bad, 1); err == nil {
			t.Errorf("store at %#x was allowed", bad)
		}
	}
}

func TestRangesAreChecked(t *testing.T) {
	tests := map[string][]Range{
		"none":      nil,
		"empty":     {{0, 0}},
		"half page": {{0, 0x800}},
		"unaligned": {{0x800, 0x1000}},
		"overlap":   {{0, 0x2000}, {0x1000, 0x1000}},
		"wraps":     {{math.MaxUint64 - 0xfff, 0x2000}},
		"too large": {{0, 1 << 63}},
	}
	for name, ranges := range tests {
		if m, err := New(ranges, Options{}); err == nil {
			m.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSlotsSuitHugePages(t *testing.T) {
	m := testMemory(t)
	for _, s := range m.Slots() {
		if host := hugePageSize - padding(s.Mem); host%hugePageSize != s.Base%hugePageSize {
			t.Errorf("slot at %#x: host address is %#x modulo 2 MiB", s.Base, host%hugePageSize)
		}
	}
}

func TestAccessDoesNotAllocate(t *testing.T) {
	m := testMemory(t)
	windows := make([][]byte, 0, 4)
	p := make([]byte, 64)
	n := testing.AllocsPerRun(100, func() {
		windows, _ = m.Append(windows[:0], 0x1ff000, 0x2000)
		_ = m.ReadAt(p, 0x1000)
		_ = m.WriteAt(p, 1<<32)
		_ = m.Store32(0x2000, 7)
		_, _ = m.Load32(0x2000)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	m := testMemory(b)
	windows := make([][]byte, 0, 1)
	for b.Loop() {
		windows, _ = m.Append(windows[:0], 1<<32, 4096)
	}
}

// freePages is how many huge pages of 2 MiB the host has free in its pool.
func freePages(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		t.Skip(err)
	}
	if n, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		t.Fatal(err)
	}
	return n
}

// Memory from a pool is there for as long as its owner lives, zero after Clear, and
// gone with it. What the host does not have is refused at once.
func TestPool(t *testing.T) {
	ranges := []Range{{0, 0xa0000}, {0xc0000, 4<<20 - 0xc0000}, {1 << 32, 1 << 20}}
	const pages, page = 3, 2 << 20
	before := freePages(t)
	m, err := New(append(ranges[:2:2], Range{1 << 32, uint64(before+1) * page}), Options{PoolPage: page})
	if err == nil {
		m.Close()
		t.Fatalf("the host has %d pages, and gave more", before)
	}
	if want := fmt.Sprintf("%d huge pages of 2048 KiB are needed, the host has %d free", before+3, before); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	if before < pages {
		t.Skipf("%d huge pages are free, %d are needed (sysctl vm.nr_hugepages=%d)", before, pages, pages)
	}
	if m, err = New(ranges, Options{PoolPage: page, Prealloc: true}); err != nil {
		t.Fatal(err)
	}
	if free := freePages(t); free != before-pages {
		t.Errorf("%d pages are free with the memory, %d without; want %d fewer", free, before, pages)
	}
	for range 2 {
		for _, s := range m.Slots() {
			if slices.ContainsFunc(s.Mem, func(b byte) bool { return b != 0 }) {
				t.Error("memory is not zero")
			}
			s.Mem[0] = 1
		}
		if err := m.Clear(); err != nil {
			t.Error(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if free := freePages(t); free != before {
		t.Errorf("%d pages are free again, want %d", free, before)
	}
}

// Guest memory is not in a core dump of this process, of whatever kind it is.
func TestNotInCoreDumps(t *testing.T) {
	for _, o := range []Options{{}, {Shared: true}, {HugePages: true}} {
		m, err := New([]Range{{0, 64 << 20}}, o)
		if err != nil {
			t.Fatal(err)
		}
		start := uintptr(unsafe.Pointer(&m.Slots()[0].Mem[0]))
		if flags := mappingFlags(t, start); !slices.Contains(flags, "dd") {
			t.Errorf("%+v: the mapping has the flags %v, without dd", o, flags)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is about to be written is in huge pages where the host lets people choose; only
// whole ones, and nothing else.
func TestWillWrite(t *testing.T) {
	const page = hugePageSize
	m, err := New([]Range{{0, 16 << 20}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	mem := m.Slots()[0].Mem
	address := func(offset int) uintptr { return uintptr(unsafe.Pointer(&mem[offset])) }
	for _, r := range []Range{{3 << 20, 6 << 20}, {0, 100}, {1 << 40, page}, {15 << 20, page}, {math.MaxUint64, 2}} {
		m.WillWrite(r.Base, r.Size)
	}
	for offset, want := range map[int]bool{0: false, 3 << 20: false, 4 << 20: true, 8<<20 - 1: true, 8 << 20: false, 15 << 20: false} {
		if got := slices.Contains(mappingFlags(t, address(offset)), "hg"); got != want {
			t.Errorf("at %#x: huge pages are asked for: %v, want %v", offset, got, want)
		}
	}
}

// mappingFlags are the VmFlags of the mapping that contains an address
// (Documentation/filesystems/proc.rst).
func mappingFlags(t *testing.T, addr uintptr) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = addr >= from && addr < to
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("no mapping at %#x", addr)
	return nil
}

// However the host provides the memory, it is zero at first and after Clear, and
// preallocated memory is there.
func TestWaysToProvideMemory(t *testing.T) {
	for _, o := range []Options{{}, {Prealloc: true}, {Shared: true}, {Shared: true, Prealloc: true, HugePages: true}} {
		m, err := New([]Range{{0, 1 << 20}, {1 << 32, 1 << 20}}, o)
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		for range 2 {
			for _, s := range m.Slots() {
				if slices.ContainsFunc(s.Mem, func(b byte) bool { return b != 0 }) {
					t.Errorf("%+v: memory is not zero", o)
				}
				s.Mem[len(s.Mem)-1] = 1
			}
			if err := m.Clear(); err != nil {
				t.Errorf("%+v: %v", o, err)
			}
			if n := resident(t, m); o.Prealloc && n != len(m.Slots())*256 || !o.Prealloc && n != 0 {
				t.Errorf("%+v: %d pages are there after Clear", o, n)
			}
		}
		if err := m.Close(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// resident counts the pages of RAM that the host has provided.
func resident(t *testing.T, m *Memory) (pages int) {
	t.Helper()
	for _, s := range m.Slots() {
		vec := make([]byte, len(s.Mem)/pageSize)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&s.Mem[0])), uintptr(len(s.Mem)), uintptr(unsafe.Pointer(&vec[0])))
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, v := range vec {
			pages += int(v & 1)
		}
	}
	return pages
}
