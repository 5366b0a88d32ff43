package nbdclient

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/nbdproto"
)

// maxOptionReply is how many bytes a reply to an option may have.
const maxOptionReply = 32 << 10

var optionNames = map[uint32]string{
	nbdproto.OptExportName: "export name", nbdproto.OptList: "list", nbdproto.OptStartTLS: "starttls", nbdproto.OptInfo: "info", nbdproto.OptGo: "go",
	nbdproto.OptStructuredReply: "structured reply", nbdproto.OptListMetaContext: "list meta context", nbdproto.OptSetMetaContext: "set meta context",
}

// export is what the handshake tells of an export.
type export struct {
	size       int64
	flags      uint16
	structured bool
	status     bool   // BLOCK_STATUS may be sent
	context    uint32 // id of the metadata context
	minBlock   int64  // requests are multiples of this
	maxBlock   int64  // of READ and WRITE
}

// OptionError is what a server refused, in QEMU's words.
type OptionError struct {
	Text   string
	Server string // its own words; may be empty
}

func (e *OptionError) Error() string {
	if e.Server == "" {
		return e.Text
	}
	return e.Text + "\nserver reported: " + e.Server
}

var be = binary.BigEndian

// handshake keeps its first error.
type handshake struct {
	nc  net.Conn
	r   *bufio.Reader
	err error
}

// style is what a server makes of a handshake.
type style int

const (
	styleOld   style = iota // there are no options
	styleNew                // EXPORT_NAME is the only one
	styleFixed              // any may be tried
)

// start begins the handshake, up to the first option but that which begins TLS. zeroes says
// that 124 of them follow the answer to EXPORT_NAME.
func (h *handshake) start(t *Target) (s style, zeroes bool, err error) {
	if m := h.uint64(); h.err == nil && m != nbdproto.MagicServer {
		return 0, false, fmt.Errorf("Bad initial magic received: 0x%x", m)
	}
	switch m := h.uint64(); {
	case h.err != nil:
		return 0, false, h.failed()
	case m == nbdproto.MagicOld && t.TLS != nil:
		return 0, false, errNoTLS
	case m == nbdproto.MagicOld:
		return styleOld, true, nil
	case m != nbdproto.MagicOption:
		return 0, false, fmt.Errorf("Bad server magic received: 0x%x", m)
	}
	flags := h.uint16()
	h.send(be.AppendUint32(nil, uint32(flags&(nbdproto.HandshakeFixedNewstyle|nbdproto.HandshakeNoZeroes))))
	zeroes = flags&nbdproto.HandshakeNoZeroes == 0
	switch {
	case flags&nbdproto.HandshakeFixedNewstyle == 0 && t.TLS != nil:
		return 0, false, errNoTLS
	case flags&nbdproto.HandshakeFixedNewstyle == 0:
		return styleNew, zeroes, h.failed()
	case t.TLS != nil:
		err = h.startTLS(t.TLS)
	}
	return styleFixed, zeroes, errors.Join(err, h.failed())
}

// negotiate does the handshake, up to the transmission phase.
func (h *handshake) negotiate(t *Target) (e export, err error) {
	e = export{minBlock: 1, maxBlock: defaultMaxBlock}
	s, zeroes, err := h.start(t)
	switch {
	case err != nil:
		return e, err
	case s == styleOld && t.Export != "":
		return e, errors.New("Server does not support non-empty export names")
	case s == styleOld:
		e.size, e.flags = h.old()
		h.bytes(124)
		return e, h.complete(&e)
	case s == styleFixed:
		done, err := h.fixed(t, &e)
		if err != nil || done {
			return e, errors.Join(err, h.complete(&e))
		}
	}
	h.option(nbdproto.OptExportName, []byte(t.Export))
	e.size, e.flags = int64(h.uint64()), h.uint16()
	if zeroes {
		h.bytes(124)
	}
	return e, h.complete(&e)
}

// old receives what a server without options tells of its export.
func (h *handshake) old() (size int64, flags uint16) {
	size = int64(h.uint64())
	return size, uint16(h.uint32())
}

func (h *handshake) send(b []byte) {
	if h.err == nil {
		_, h.err = h.nc.Write(b)
	}
}

func (h *handshake) bytes(n int) []byte {
	b := make([]byte, n)
	if h.err == nil {
		_, h.err = io.ReadFull(h.r, b)
	}
	return b
}

func (h *handshake) uint64() uint64 { return be.Uint64(h.bytes(8)) }
func (h *handshake) uint32() uint32 { return be.Uint32(h.bytes(4)) }
func (h *handshake) uint16() uint16 { return be.Uint16(h.bytes(2)) }

// failed is the first error, in QEMU's words.
func (h *handshake) failed() error {
	var op *net.OpError
	var no syscall.Errno
	switch {
	case h.err == nil:
		return nil
	case errors.Is(h.err, io.EOF), errors.Is(h.err, io.ErrUnexpectedEOF):
		return errors.New("Failed to read data: Unexpected end-of-file before all data were read")
	case errors.As(h.err, &op) && errors.As(h.err, &no):
		text := no.Error()
		text = strings.ToUpper(text[:1]) + text[1:]
		if op.Op == "write" {
			return fmt.Errorf("Failed to send data: Unable to write to socket: %s", text)
		}
		return fmt.Errorf("Failed to read data: Unable to read from socket: %s", text)
	}
	return h.err
}

// complete checks what the handshake came to.
func (h *handshake) complete(e *export) error {
	switch {
	case h.err != nil:
		return h.failed()
	case e.size < 0:
		return fmt.Errorf("export of %d bytes", uint64(e.size))
	case e.size%e.minBlock != 0:
		return fmt.Errorf("export size %d is not multiple of minimum block size %d", e.size, e.minBlock)
	}
	return nil
}

func (h *handshake) option(code uint32, data []byte) {
	b := be.AppendUint64(nil, nbdproto.MagicOption)
	b = be.AppendUint32(b, code)
	b = be.AppendUint32(b, uint32(len(data)))
	h.send(append(b, data...))
}

// reply receives a reply to an option.
func (h *handshake) reply(code uint32) (kind uint32, data []byte) {
	magic, option := h.uint64(), h.uint32()
	kind, n := h.uint32(), h.uint32()
	switch {
	case h.err != nil:
	case magic != nbdproto.MagicOptionReply:
		h.err = errors.New("Unexpected option reply magic")
	case option != code:
		h.err = fmt.Errorf("Unexpected option type %d (%s), expected %d (%s)", option, optionNames[option], code, optionNames[code])
	case n > maxOptionReply:
		h.err = fmt.Errorf("option reply of %d bytes", n)
	default:
		data = h.bytes(int(n))
	}
	return kind, data
}

// fixed enters the transmission phase by GO; done is false if the server does not
// know that.
func (h *handshake) fixed(t *Target, e *export) (done bool, err error) {
	h.option(nbdproto.OptStructuredReply, nil)
	if kind, _ := h.reply(nbdproto.OptStructuredReply); h.err == nil && kind == nbdproto.RepAck {
		e.structured = true
		if err := h.context(t, e); err != nil {
			return false, err
		}
	}
	data := be.AppendUint32(nil, uint32(len(t.Export)))
	data = append(append(data, t.Export...), 0, 1, 0, nbdproto.InfoBlockSize)
	h.option(nbdproto.OptGo, data)
	seen := false
	for h.err == nil {
		kind, data := h.reply(nbdproto.OptGo)
		switch {
		case h.err != nil:
		case kind == nbdproto.RepErrUnsup:
			return false, nil
		case kind&nbdproto.RepError != 0:
			return false, h.refused(nbdproto.OptGo, kind, data)
		case kind == nbdproto.RepAck && !seen:
			return false, errors.New("broken server omitted NBD_INFO_EXPORT")
		case kind == nbdproto.RepAck:
			return true, nil
		case kind != nbdproto.RepInfo || len(data) < 2:
			return false, fmt.Errorf("unexpected reply type %d (%s)", kind, "option go")
		case be.Uint16(data) == nbdproto.InfoExport && len(data) == 12:
			e.size, e.flags, seen = int64(be.Uint64(data[2:])), be.Uint16(data[10:]), true
		case be.Uint16(data) == nbdproto.InfoBlockSize && len(data) == 14:
			if err := e.blocks(be.Uint32(data[2:]), be.Uint32(data[10:])); err != nil {
				return false, err
			}
		}
	}
	return false, h.failed()
}

// blocks takes the sizes that requests must have.
func (e *export) blocks(smallest, most uint32) error {
	const largest = 64 << 10
	if smallest == 0 || smallest&(smallest-1) != 0 || smallest > largest {
		return fmt.Errorf("server minimum block size %d is not a power of two", smallest)
	}
	if most < smallest || most%smallest != 0 {
		return fmt.Errorf("server maximum block size %d is not valid", most)
	}
	e.minBlock, e.maxBlock = int64(smallest), min(int64(most), defaultMaxBlock)
	return nil
}

// context asks for the metadata context.
func (h *handshake) context(t *Target, e *export) error {
	name := t.Context
	if name == "" {
		name = "base:allocation"
	}
	data := be.AppendUint32(nil, uint32(len(t.Export)))
	data = append(data, t.Export...)
	data = be.AppendUint32(data, 1)
	data = be.AppendUint32(data, uint32(len(name)))
	h.option(nbdproto.OptSetMetaContext, append(data, name...))
	for h.err == nil {
		kind, data := h.reply(nbdproto.OptSetMetaContext)
		switch {
		case h.err != nil:
		case kind == nbdproto.RepMetaContext && len(data) >= 4 && string(data[4:]) == name:
			e.context, e.status = be.Uint32(data), true
		case kind == nbdproto.RepMetaContext:
			return fmt.Errorf("Failed to negotiate meta context '%s', server answered with different context", name)
		case t.Context != "" && !e.status:
			return fmt.Errorf("requested x-dirty-bitmap %s not found", name)
		default: // the end, or the server has none
			return nil
		}
	}
	return h.failed()
}

// refused is the error for an option.
func (h *handshake) refused(code, kind uint32, data []byte) error {
	o := fmt.Sprintf("option %d (%s)", code, optionNames[code])
	text := ""
	switch kind {
	case nbdproto.RepErrPolicy:
		text = "Denied by server for " + o
	case nbdproto.RepErrInvalid:
		text = "Invalid parameters for " + o
	case nbdproto.RepErrPlatform:
		text = "Server lacks support for " + o
	case nbdproto.RepErrTLSReqd:
		text = "TLS negotiation required before " + o + "\nDid you forget a valid tls-creds?"
	case nbdproto.RepErrUnknown:
		text = "Requested export not available"
	case nbdproto.RepErrShutdown:
		text = "Server shutting down before " + o
	case nbdproto.RepErrBlocks:
		text = "Server requires INFO_BLOCK_SIZE for " + o
	default:
		text = "Unknown error code when asking for " + o
	}
	h.option(nbdproto.OptAbort, nil)
	return &OptionError{text, string(data)}
}
