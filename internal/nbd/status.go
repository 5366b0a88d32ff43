package nbd

import (
	"encoding/binary"
	"errors"

	"github.com/govmm/govmm/internal/nbdproto"
)

// maxExtents is how many extents a reply to BLOCK_STATUS has at most, in all its
// chunks, unless it has more chunks.
const maxExtents = 4096

// blockStatus carries out BLOCK_STATUS: one chunk for each selected context.
func (w *worker) blockStatus(rq request) {
	limit := max(1, maxExtents/len(w.c.contexts))
	if rq.flags&nbdproto.CmdFlagReqOne != 0 {
		limit = 1
	}
	var chunks []reply
	for i, s := range w.c.contexts {
		extents, err := s.extents(int64(rq.off), int64(rq.length), limit)
		if err != nil {
			w.finish(rq, err)
			return
		}
		r := chunk(rq.cookie, nbdproto.ChunkBlockStatus, len(extents), i == len(w.c.contexts)-1)
		r.tail = extents
		chunks = append(chunks, r)
	}
	w.replies = append(w.replies, chunks...)
}

// extents is the payload of a block status chunk: the context's id, then length
// and flags of each extent. Neighbours differ in their flags; a limit on their
// number may end them before the n bytes do.
func (s *selection) extents(off, n int64, limit int) ([]byte, error) {
	be := binary.BigEndian
	out := be.AppendUint32(nil, s.id)
	var length int64
	var flags uint32
	for count := 0; n > 0; {
		f, part, err := s.context.Status(off, n)
		if err != nil {
			return nil, err
		}
		if part = min(part, n); part <= 0 {
			return nil, errors.New("status of no bytes")
		}
		if length > 0 && f != flags {
			if count++; count == limit {
				break
			}
			out = be.AppendUint32(be.AppendUint32(out, uint32(length)), flags)
			length = 0
		}
		flags = f
		length += part
		off, n = off+part, n-part
	}
	return be.AppendUint32(be.AppendUint32(out, uint32(length)), flags), nil
}
