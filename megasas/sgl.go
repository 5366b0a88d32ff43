package megasas

import (
	"github.com/govmm/govmm/internal/iov"
	"github.com/govmm/govmm/megasas/mfi"
)

// mapData sets r.data to the first n bytes that the frame's scatter-gather list
// describes. Elements beyond them are not looked at: drivers leave rubbish
// there.
func (r *request) mapData(n uint64) error {
	r.data = r.data[:0]
	sgl := r.frame.SGL()
	for n > 0 {
		e, ok, err := sgl.Next()
		if err != nil {
			return err
		}
		if !ok {
			return &mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "scatter-gather list is shorter than the data"}
		}
		part := min(uint64(e.Len), n)
		r.data, err = r.c.dma.Append(r.data, e.Addr, part)
		if err != nil {
			return &mfi.Error{Status: mfi.StatusInvalidSGL, Reason: "scatter-gather element is not in memory"}
		}
		n -= part
	}
	return nil
}

// dataLen is how much the guest can take or give: the length that the frame
// claims, as far as its list goes.
func (r *request) dataLen() uint64 {
	return min(uint64(r.frame.DataLen()), r.frame.SGL().Total())
}

// take fills p from guest memory. What the guest gives less of is refused.
func (r *request) take(p []byte) error {
	if r.dataLen() < uint64(len(p)) {
		return &mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "command comes with too little data"}
	}
	if err := r.mapData(uint64(len(p))); err != nil {
		return err
	}
	iov.Gather(p, r.data)
	return nil
}

// put copies p, or as much of it as the guest has room for, to guest memory.
func (r *request) put(p []byte) error {
	p = p[:min(uint64(len(p)), r.dataLen())]
	if err := r.mapData(uint64(len(p))); err != nil {
		return err
	}
	iov.Scatter(r.data, p)
	return nil
}
