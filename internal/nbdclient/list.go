package nbdclient

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/nbdproto"
)

// Export is what a server tells of an export.
type Export struct {
	Name        string
	Description string
	Size        uint64
	Flags       uint16 // of the protocol; 0: nothing is known but the name
	// Sizes of requests, in bytes; 0: nothing is known.
	MinBlock, PreferredBlock, MaxBlock uint32
	// Contexts are the names of the metadata contexts.
	Contexts []string
}

// Bounds of what a server may tell.
const (
	maxExports  = 1 << 16
	maxContexts = 1 << 16
	maxName     = 4096 // bytes of a name or description
)

// List asks a server what it exports. Which export the target names does not matter.
func List(t Target) ([]Export, error) {
	nc, err := t.dial()
	if err != nil {
		return nil, err
	}
	h := handshake{nc: nc, r: bufio.NewReader(nc)}
	defer func() { _ = h.nc.Close() }()
	s, _, err := h.start(&t)
	switch {
	case err != nil:
		return nil, err
	case s == styleNew:
		return nil, errors.New("Server does not support export lists")
	case s == styleOld:
		size, flags := h.old()
		return []Export{{Size: uint64(size), Flags: flags}}, h.failed()
	}
	h.option(nbdproto.OptStructuredReply, nil)
	kind, _ := h.reply(nbdproto.OptStructuredReply)
	list, err := h.list()
	if err != nil {
		return nil, err
	}
	for i := range list {
		known, err := h.info(&list[i])
		if err == nil && !known {
			break // as it would be with all others
		}
		if err == nil && kind == nbdproto.RepAck {
			err = h.contexts(&list[i])
		}
		if err != nil {
			return nil, err
		}
	}
	h.option(nbdproto.OptAbort, nil) // out of courtesy: whether that is heard does not matter
	return list, nil
}

// list asks for the names of all exports. A server that does not tell has none.
func (h *handshake) list() (list []Export, err error) {
	h.option(nbdproto.OptList, nil)
	for {
		kind, data := h.reply(nbdproto.OptList)
		switch {
		case h.err != nil:
			return nil, h.failed()
		case kind == nbdproto.RepAck, kind == nbdproto.RepErrUnsup:
			return list, nil
		case kind&nbdproto.RepError != 0:
			return nil, h.refused(nbdproto.OptList, kind, data)
		case kind != nbdproto.RepServer:
			return nil, unexpectedReply(kind, nbdproto.OptList)
		case len(data) < 4:
			return nil, fmt.Errorf("incorrect option length %d", len(data))
		}
		n := int(be.Uint32(data))
		data = data[4:]
		switch {
		case n > len(data) || n > maxName:
			return nil, errors.New("incorrect name length in server's list response")
		case len(data)-n > maxName:
			return nil, errors.New("incorrect description length in server's list response")
		case len(list) == maxExports:
			return nil, fmt.Errorf("server has more than %d exports", maxExports)
		}
		list = append(list, Export{Name: string(data[:n]), Description: string(data[n:])})
	}
}

// info asks about one export. known is false where the server can't tell.
func (h *handshake) info(e *Export) (known bool, err error) {
	data := be.AppendUint32(nil, uint32(len(e.Name)))
	h.option(nbdproto.OptInfo, append(append(data, e.Name...), 0, 1, 0, nbdproto.InfoBlockSize))
	for {
		kind, data := h.reply(nbdproto.OptInfo)
		switch {
		case h.err != nil:
			return false, h.failed()
		case kind == nbdproto.RepErrUnsup:
			return false, nil
		case kind&nbdproto.RepError != 0:
			return false, h.refused(nbdproto.OptInfo, kind, data)
		case kind == nbdproto.RepAck && e.Flags == 0:
			return false, errors.New("broken server omitted NBD_INFO_EXPORT")
		case kind == nbdproto.RepAck:
			return true, nil
		case kind != nbdproto.RepInfo || len(data) < 2:
			return false, unexpectedReply(kind, nbdproto.OptInfo)
		case be.Uint16(data) == nbdproto.InfoExport && len(data) == 12:
			e.Size, e.Flags = be.Uint64(data[2:]), be.Uint16(data[10:])
		case be.Uint16(data) == nbdproto.InfoBlockSize && len(data) == 14:
			e.MinBlock, e.PreferredBlock, e.MaxBlock = be.Uint32(data[2:]), be.Uint32(data[6:]), be.Uint32(data[10:])
		}
	}
}

// contexts asks for the metadata contexts of one export. A server that does not tell has
// none.
func (h *handshake) contexts(e *Export) error {
	data := be.AppendUint32(nil, uint32(len(e.Name)))
	h.option(nbdproto.OptListMetaContext, append(append(data, e.Name...), 0, 0, 0, 0)) // no queries: all
	for {
		kind, data := h.reply(nbdproto.OptListMetaContext)
		switch {
		case h.err != nil:
			return h.failed()
		case kind == nbdproto.RepAck, kind&nbdproto.RepError != 0:
			return nil
		case kind != nbdproto.RepMetaContext || len(data) <= 4 || len(e.Contexts) == maxContexts:
			return unexpectedReply(kind, nbdproto.OptListMetaContext)
		}
		e.Contexts = append(e.Contexts, string(data[4:]))
	}
}

func unexpectedReply(kind, option uint32) error {
	return fmt.Errorf("unexpected reply of type %d to option %d (%s)", kind, option, optionNames[option])
}
