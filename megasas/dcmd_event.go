package megasas

import (
	"encoding/binary"

	"github.com/govmm/govmm/megasas/mfi"
)

// eventInfo is CTRL_EVENT_GET_INFO.
func eventInfo(c *Controller, r *request) mfi.Status {
	return r.putOrRefuse(c.events.logInfo().Marshal())
}

// eventClear is CTRL_EVENT_CLEAR.
func eventClear(c *Controller, _ *request) mfi.Status {
	c.logCleared()
	return mfi.StatusOK
}

// eventGet is CTRL_EVENT_GET: as many events as there is room for. That there
// is none is how readers learn that they have seen all.
func eventGet(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	room := min((r.dataLen()-mfi.EventListHeaderLen)/mfi.EventLen, eventLogSize)
	var list []mfi.Event
	c.events.each(box.W(0), mfi.EventFilter(box.W(1)), func(e *mfi.Event) bool {
		list = append(list, *e)
		return uint64(len(list)) < room
	})
	if len(list) == 0 {
		return mfi.StatusNotFound
	}
	return r.putOrRefuse(mfi.MarshalEventList(list))
}

// eventCount is CTRL_EVENT_COUNT.
func eventCount(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	n := uint32(0)
	c.events.each(box.W(0), mfi.EventFilter(box.W(1)), func(*mfi.Event) bool {
		n++
		return true
	})
	return r.putOrRefuse(binary.LittleEndian.AppendUint32(nil, n))
}
