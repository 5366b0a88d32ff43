package megasas

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// clock is the card's clock: the host's, and how far the guest has put it ahead or
// back. The NVRAM keeps that.
type clock struct {
	host  func() time.Time
	ahead atomic.Int64 // nanoseconds
	start time.Time    // by host: when the card got power
}

func (k *clock) now() time.Time { return k.host().Add(time.Duration(k.ahead.Load())) }

// set makes it t now.
func (k *clock) set(t time.Time) { k.ahead.Store(int64(t.Sub(k.host()))) }

// timeGet is CTRL_TIME_GET.
func timeGet(c *Controller, r *request) mfi.Status {
	return r.putOrRefuse(mfi.MarshalTime(c.clock.now()))
}

// timeSeconds is CTRL_TIME_SECS_GET.
func timeSeconds(c *Controller, r *request) mfi.Status {
	return r.putOrRefuse(binary.LittleEndian.AppendUint32(nil, mfi.Seconds(c.clock.now())))
}

// timeSet is CTRL_TIME_SET. The time stands in the mailbox; from who sends it as
// data, it is taken from there.
func timeSet(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	p := [8]byte(box[:8])
	if r.dataLen() >= uint64(len(p)) {
		if err := r.take(p[:]); err != nil {
			return r.refuse(err)
		}
	}
	host := c.clock.host()
	t, err := mfi.ParseTime(&p, host.Location())
	if err != nil {
		return r.refuse(err)
	}
	c.clock.set(t)
	elapsed := uint32(max(0, host.Sub(c.clock.start)/time.Second))
	c.events.add(mfi.Event{
		Code:        mfi.EventTimeEstablished,
		Filter:      mfi.Filter(mfi.ClassInfo, mfi.LocaleController),
		Args:        mfi.ArgsTime{Time: mfi.Seconds(t), Elapsed: elapsed},
		Description: fmt.Sprintf("Time established as %s; (%d seconds since power on)", t.Format("01/02/06 15:04:05"), elapsed),
	})
	return c.remember()
}
