package kvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// Statistic is something that the kernel counts of a machine or a vCPU (Linux,
// Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
type Statistic struct {
	Name string
	Kind StatisticKind
	Unit StatisticUnit
	// A value is in units of Base to the power of Exponent. Base is 2 or 10.
	Base, Exponent int
	BucketSize     int      // of a linear histogram
	Values         []uint64 // one, or those of a histogram's buckets
}

// StatisticKind is how a statistic changes.
type StatisticKind uint8

const (
	Cumulative      StatisticKind = iota // it only grows
	Instant                              // it goes up and down
	Peak                                 // the highest value so far
	LinearHistogram                      // buckets of BucketSize
	LogHistogram                         // each bucket twice as wide as the one before
)

// StatisticUnit is what a statistic counts.
type StatisticUnit uint8

const (
	Times StatisticUnit = iota
	Bytes
	Seconds
	Cycles
	Truth // 0 or 1
)

// Layout of the kernel's struct kvm_stats_header and of struct kvm_stats_desc, whose
// name follows it.
const (
	statsHeaderSize = 24
	statsDescSize   = 16
	statsValueSize  = 8

	statsKindMask  = 0xf
	statsUnitShift = 4
	statsUnitMask  = 0xf
	statsBaseShift = 8
	statsBaseMask  = 0xf // 0 is 10, 1 is 2

	// maxStats bounds what is believed of a header.
	maxStats, maxStatsName = 4096, 256
)

// ErrNoStatistics means that the kernel gives none, as before Linux 5.14.
var ErrNoStatistics = errors.New("the kernel has no statistics")

// getStats is KVM_GET_STATS_FD. Of a vCPU it waits until that is out of the guest.
func getStats(fd int) (int, error) {
	stats, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), gokvm.IIO(0xce), 0)
	switch {
	case errno == unix.ENOTTY || errno == unix.EINVAL:
		return -1, ErrNoStatistics
	case errno != 0:
		return -1, callError("KVM_GET_STATS_FD", errno)
	}
	unix.CloseOnExec(int(stats))
	return int(stats), nil
}

// Statistics reads what the kernel has counted of the machine as a whole.
func (vm *VM) Statistics() ([]Statistic, error) {
	fd, err := getStats(vm.fd)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readStatistics(fd)
}

// Statistics reads what the kernel has counted of the vCPU, which may run.
func (v *VCPU) Statistics() ([]Statistic, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.stats < 0 {
		return nil, ErrNoStatistics
	}
	return readStatistics(v.stats)
}

func readStatistics(fd int) ([]Statistic, error) {
	read := func(n, off int) ([]byte, error) {
		p := make([]byte, n)
		got, err := unix.Pread(fd, p, int64(off))
		if err == nil && got != n {
			err = fmt.Errorf("%d bytes at %d, want %d", got, off, n)
		}
		return p, callError("read the kernel's statistics", err)
	}
	header, err := read(statsHeaderSize, 0)
	if err != nil {
		return nil, err
	}
	word := func(p []byte, at int) int { return int(binary.NativeEndian.Uint32(p[at:])) }
	nameSize, count := word(header, 4), word(header, 8)
	if nameSize > maxStatsName || count > maxStats {
		return nil, fmt.Errorf("the kernel's statistics: %d with names of %d bytes", count, nameSize)
	}
	size := statsDescSize + nameSize
	descs, err := read(count*size, word(header, 16))
	if err != nil {
		return nil, err
	}
	var list []Statistic
	var places []int // of their values, in bytes from the first
	end := 0         // of all values
	for ; len(descs) >= size; descs = descs[size:] {
		s := newStatistic(descs[:size])
		list, places = append(list, s), append(places, word(descs, 8))
		end = max(end, word(descs, 8)+statsValueSize*len(s.Values))
	}
	if end > maxStats*statsValueSize {
		return nil, fmt.Errorf("the kernel's statistics: %d bytes of values", end)
	}
	values, err := read(end, word(header, 20))
	if err != nil {
		return nil, err
	}
	for n, s := range list {
		for i := range s.Values {
			s.Values[i] = binary.NativeEndian.Uint64(values[places[n]+statsValueSize*i:])
		}
	}
	return list, nil
}

// newStatistic makes a statistic, without its values, of a descriptor with its name.
func newStatistic(desc []byte) Statistic {
	name, _, _ := bytes.Cut(desc[statsDescSize:], []byte{0})
	flags := binary.NativeEndian.Uint32(desc)
	s := Statistic{
		Name:       string(name),
		Kind:       StatisticKind(flags & statsKindMask),
		Unit:       StatisticUnit(flags >> statsUnitShift & statsUnitMask),
		Base:       10,
		Exponent:   int(int16(binary.NativeEndian.Uint16(desc[4:]))),
		Values:     make([]uint64, binary.NativeEndian.Uint16(desc[6:])),
		BucketSize: int(binary.NativeEndian.Uint32(desc[12:])),
	}
	if flags>>statsBaseShift&statsBaseMask != 0 {
		s.Base = 2
	}
	return s
}
