package block

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/govmm/govmm/qcow2"
)

// Account is what was asked of a device, and how long that took: the sum of all
// requests' times, which overlap where requests do. It may be read at any time.
type Account struct {
	start   time.Time
	kinds   [accountKinds]work
	highest atomic.Int64
}

// accountKind is a kind of requests.
type accountKind uint8

const (
	accountRead accountKind = iota
	accountWrite
	accountFlush
	accountDiscard
	accountKinds
)

// AccountTotals are the counts of one moment.
type AccountTotals struct {
	Reads, Writes, Flushes, Discards WorkTotals
	// HighestWrite is where the highest write ended, in bytes.
	HighestWrite int64
	// Idle is the time since the last request ended; negative if there was none.
	Idle time.Duration
}

// WorkTotals are the counts of one kind of requests.
type WorkTotals struct {
	Done, Bytes uint64        // of those that succeeded
	Failed      uint64        // those that did not
	Time        time.Duration // of both
}

// work counts one kind of requests. It is as large as a cache line, so that those who read
// and those who write get little into each other's way.
type work struct {
	done, bytes, failed atomic.Uint64
	nanos               atomic.Int64
	last                atomic.Int64  // when the last one ended, in nanoseconds from Account.start
	quick               atomic.Uint64 // those that waited for nothing; not in done
	timed               atomic.Uint64 // how many of quick are in nanos
	_                   [cacheLine - counted]byte
}

const (
	cacheLine = 64
	counted   = 7 * unsafe.Sizeof(atomic.Uint64{})
)

// quickSample is how many transfers that wait for nothing one is timed for. They take a
// microsecond, of which a clock that is read twice would be a tenth; this is a
// twenty-fifth.
const quickSample = 16

// Accounted returns a device that is d, and the account of what is asked of it. It is
// a Mapper if d is one, and tells beforehand what has to wait if d does; else it is
// no more than a Device.
func Accounted(d Device) (Device, *Account) {
	x := accounted{Device: d, account: &Account{start: time.Now()}}
	mapper, maps := d.(Mapper)
	trier, tries := d.(qcow2.Trier)
	switch {
	case maps && tries:
		return &struct {
			accounted
			Mapper
			accountedTrier
		}{x, mapper, accountedTrier{trier, x.account}}, x.account
	case maps:
		return &struct {
			accounted
			Mapper
		}{x, mapper}, x.account
	case tries:
		return &struct {
			accounted
			accountedTrier
		}{x, accountedTrier{trier, x.account}}, x.account
	}
	return &x, x.account
}

// Totals returns the counts as they are now.
func (a *Account) Totals() AccountTotals {
	var last int64
	totals := func(kind accountKind) WorkTotals {
		w := &a.kinds[kind]
		last = max(last, w.last.Load())
		return WorkTotals{w.done.Load() + w.quick.Load(), w.bytes.Load(), w.failed.Load(), time.Duration(w.nanos.Load())}
	}
	t := AccountTotals{
		Reads: totals(accountRead), Writes: totals(accountWrite), Flushes: totals(accountFlush), Discards: totals(accountDiscard),
		HighestWrite: a.highest.Load(),
		Idle:         -1,
	}
	if last > 0 {
		t.Idle = max(0, time.Duration(a.now()-last))
	}
	return t
}

// now is the time since the account was opened, in nanoseconds.
func (a *Account) now() int64 { return int64(time.Since(a.start)) }

// note enters a request of n bytes that began at start.
func (a *Account) note(kind accountKind, start, n int64, err error) error {
	w, end := &a.kinds[kind], a.now()
	w.nanos.Add(end - start)
	w.last.Store(end)
	if err != nil {
		w.failed.Add(1)
		return err
	}
	w.bytes.Add(uint64(n))
	w.done.Add(1)
	return nil
}

// wrote notes that bytes up to an offset were written.
func (a *Account) wrote(end int64) {
	for {
		was := a.highest.Load()
		if end <= was || a.highest.CompareAndSwap(was, end) {
			return
		}
	}
}

// accounted is a Device with an account.
type accounted struct {
	Device
	account *Account
}

// ReadV implements Device.
func (d *accounted) ReadV(bufs [][]byte, off int64) error {
	start := d.account.now()
	return d.account.note(accountRead, start, vecLen(bufs), d.Device.ReadV(bufs, off))
}

// WriteV implements Device.
func (d *accounted) WriteV(bufs [][]byte, off int64) error {
	return d.write(off, vecLen(bufs), func() error { return d.Device.WriteV(bufs, off) })
}

// WriteZeroes implements Device.
func (d *accounted) WriteZeroes(off, n int64, unmap bool) error {
	return d.write(off, n, func() error { return d.Device.WriteZeroes(off, n, unmap) })
}

func (d *accounted) write(off, n int64, do func() error) error {
	start := d.account.now()
	err := d.account.note(accountWrite, start, n, do())
	if err == nil {
		d.account.wrote(off + n)
	}
	return err
}

// Discard implements Device.
func (d *accounted) Discard(off, n int64) error {
	start := d.account.now()
	return d.account.note(accountDiscard, start, n, d.Device.Discard(off, n))
}

// Flush implements Device.
func (d *accounted) Flush() error {
	start := d.account.now()
	return d.account.note(accountFlush, start, 0, d.Device.Flush())
}

// accountedTrier is a Trier with an account. What was not done is asked again
// otherwise, and counts then.
type accountedTrier struct {
	trier   qcow2.Trier
	account *Account
}

// TryReadV implements qcow2.Trier.
func (d *accountedTrier) TryReadV(bufs [][]byte, off int64) bool {
	q := d.account.beginQuick(accountRead)
	return d.trier.TryReadV(bufs, off) && d.account.endQuick(accountRead, q, vecLen(bufs))
}

// TryWriteV implements qcow2.Trier.
func (d *accountedTrier) TryWriteV(bufs [][]byte, off int64) bool {
	q := d.account.beginQuick(accountWrite)
	if !d.trier.TryWriteV(bufs, off) {
		return false
	}
	n := vecLen(bufs)
	d.account.wrote(off + n)
	return d.account.endQuick(accountWrite, q, n)
}

// beginQuick returns when a transfer that may turn out to wait for nothing began, or
// 0 if it is not to be timed.
func (a *Account) beginQuick(kind accountKind) (start int64) {
	if a.kinds[kind].quick.Load()%quickSample != 0 {
		return 0
	}
	return a.now()
}

// endQuick enters such a transfer; one that was timed stands for all since the one
// that was timed before. It returns true.
func (a *Account) endQuick(kind accountKind, start, n int64) bool {
	w, end := &a.kinds[kind], a.now()
	w.last.Store(end)
	w.bytes.Add(uint64(n))
	quick := w.quick.Add(1)
	if start != 0 {
		for {
			timed := w.timed.Load()
			if timed >= quick {
				break // another one stands for this
			}
			if w.timed.CompareAndSwap(timed, quick) {
				w.nanos.Add((end - start) * int64(quick-timed))
				break
			}
		}
	}
	return true
}
