package nbd

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/govmm/govmm/internal/nbdproto"
)

var (
	errAborted  = errors.New("client aborted the handshake")
	errProtocol = errors.New("protocol error")
)

// handshake negotiates until the client has chosen an export. It leaves
// c.export set, or says why there will be none.
func (c *conn) handshake() error {
	be := binary.BigEndian
	hello := be.AppendUint64(nil, nbdproto.MagicServer)
	hello = be.AppendUint64(hello, nbdproto.MagicOption)
	hello = be.AppendUint16(hello, nbdproto.HandshakeFixedNewstyle|nbdproto.HandshakeNoZeroes)
	if _, err := c.nc.Write(hello); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return err
	}
	flags := be.Uint32(b[:])
	if flags&^(nbdproto.HandshakeFixedNewstyle|nbdproto.HandshakeNoZeroes) != 0 {
		return fmt.Errorf("%w: client flags %#x", errProtocol, flags)
	}
	c.noZeroes = flags&nbdproto.HandshakeNoZeroes != 0
	for range maxOptions {
		if err := c.option(); err != nil || c.export != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than %d options", errProtocol, maxOptions)
}

// maxOptions is how many options a client may send before it chooses an export.
const maxOptions = 4096

// option reads and answers one option.
func (c *conn) option() error {
	be := binary.BigEndian
	var h [16]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return err
	}
	if m := be.Uint64(h[:]); m != nbdproto.MagicOption {
		return fmt.Errorf("%w: option magic %#x", errProtocol, m)
	}
	o := optionRequest{code: be.Uint32(h[8:])}
	n := be.Uint32(h[12:])
	if n > maxOptionData {
		if o.code == nbdproto.OptExportName {
			return fmt.Errorf("%w: export name of %d bytes", errProtocol, n)
		}
		if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
			return err
		}
		return c.refuse(o, nbdproto.RepErrTooBig, "option data is too long")
	}
	o.data = make([]byte, n)
	if _, err := io.ReadFull(c.in, o.data); err != nil {
		return err
	}
	if c.srv.TLS != nil && !c.secure {
		switch o.code {
		case nbdproto.OptStartTLS, nbdproto.OptAbort:
		case nbdproto.OptExportName:
			return fmt.Errorf("%w: export name before STARTTLS", errProtocol)
		default:
			return c.refuse(o, nbdproto.RepErrTLSReqd, fmt.Sprintf("Option %#x not permitted before TLS", o.code))
		}
	}
	switch o.code {
	case nbdproto.OptExportName:
		return c.exportName(o)
	case nbdproto.OptAbort:
		_ = c.answer(o, nbdproto.RepAck, nil)
		return errAborted
	case nbdproto.OptList:
		return c.list(o)
	case nbdproto.OptStartTLS:
		return c.startTLS(o)
	case nbdproto.OptInfo, nbdproto.OptGo:
		return c.info(o)
	case nbdproto.OptStructuredReply:
		if len(o.data) != 0 {
			return c.refuse(o, nbdproto.RepErrInvalid, "STRUCTURED_REPLY has no data")
		}
		c.structured = true
		return c.answer(o, nbdproto.RepAck, nil)
	case nbdproto.OptListMetaContext, nbdproto.OptSetMetaContext:
		return c.metaContext(o)
	}
	return c.refuse(o, nbdproto.RepErrUnsup, "option is not supported")
}

// optionRequest is an option as the client sent it.
type optionRequest struct {
	code uint32
	data []byte
}

// answer sends one option reply.
func (c *conn) answer(o optionRequest, kind uint32, data []byte) error {
	be := binary.BigEndian
	b := be.AppendUint64(nil, nbdproto.MagicOptionReply)
	b = be.AppendUint32(b, o.code)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	_, err := c.nc.Write(append(b, data...))
	return err
}

// refuse answers an option with an error and a text for people.
func (c *conn) refuse(o optionRequest, kind uint32, text string) error {
	return c.answer(o, kind, []byte(text))
}

// exportName is the option of old clients: it has no reply but the export's
// size, and no way to refuse.
func (c *conn) exportName(o optionRequest) error {
	e := c.srv.find(string(o.data))
	if e == nil {
		return fmt.Errorf("%w: export %q is not served", errProtocol, o.data)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(e.Device.Size()))
	b = binary.BigEndian.AppendUint16(b, e.flags(c.structured, c.srv.MaxConnections != 1))
	if !c.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	if _, err := c.nc.Write(b); err != nil {
		return err
	}
	c.choose(e)
	return nil
}

// choose ends the handshake. Contexts that were selected for another export do
// not count.
func (c *conn) choose(e *Export) {
	if c.contextsOf != e {
		c.contexts = nil
	}
	c.export = e
}

func (c *conn) list(o optionRequest) error {
	if len(o.data) != 0 {
		return c.refuse(o, nbdproto.RepErrInvalid, "LIST has no data")
	}
	for _, e := range c.srv.Exports {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(e.Name)))
		b = append(append(b, e.Name...), e.Description...)
		if err := c.answer(o, nbdproto.RepServer, b); err != nil {
			return err
		}
	}
	return c.answer(o, nbdproto.RepAck, nil)
}

func (c *conn) startTLS(o optionRequest) error {
	switch {
	case len(o.data) != 0:
		return c.refuse(o, nbdproto.RepErrInvalid, "STARTTLS has no data")
	case c.srv.TLS == nil:
		return c.refuse(o, nbdproto.RepErrPolicy, "TLS not configured")
	case c.secure:
		return c.refuse(o, nbdproto.RepErrInvalid, "TLS is on already")
	}
	if c.in.Buffered() != 0 {
		return fmt.Errorf("%w: %d bytes behind STARTTLS", errProtocol, c.in.Buffered())
	}
	if err := c.answer(o, nbdproto.RepAck, nil); err != nil {
		return err
	}
	t := tls.Server(c.nc, c.srv.TLS)
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.nc, c.secure = t, true
	c.in.Reset(t)
	// What was agreed in the clear does not count.
	c.structured, c.contexts, c.contextsOf = false, nil, nil
	return nil
}

// info answers INFO and GO.
func (c *conn) info(o optionRequest) error {
	name, rest, ok := cutString(o.data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(binary.BigEndian.Uint16(rest)) {
		return c.refuse(o, nbdproto.RepErrInvalid, "malformed request")
	}
	e := c.srv.find(name)
	if e == nil {
		return c.refuse(o, nbdproto.RepErrUnknown, fmt.Sprintf("export '%s' not present", name))
	}
	be := binary.BigEndian
	texts := map[uint16]string{nbdproto.InfoName: e.Name, nbdproto.InfoDescription: e.Description}
	for rest = rest[2:]; len(rest) > 0; rest = rest[2:] {
		kind := be.Uint16(rest)
		text, ok := texts[kind]
		if !ok || kind == nbdproto.InfoDescription && text == "" {
			continue
		}
		delete(texts, kind) // it is told once, however often it was asked for
		if err := c.answer(o, nbdproto.RepInfo, append(be.AppendUint16(nil, kind), text...)); err != nil {
			return err
		}
	}
	b := be.AppendUint16(nil, nbdproto.InfoBlockSize)
	b = be.AppendUint32(b, max(1, e.MinBlock))
	b = be.AppendUint32(b, 4096) // pages are served best
	b = be.AppendUint32(b, MaxRequest)
	if err := c.answer(o, nbdproto.RepInfo, b); err != nil {
		return err
	}
	b = be.AppendUint16(nil, nbdproto.InfoExport)
	b = be.AppendUint64(b, uint64(e.Device.Size()))
	b = be.AppendUint16(b, e.flags(c.structured, c.srv.MaxConnections != 1))
	if err := c.answer(o, nbdproto.RepInfo, b); err != nil {
		return err
	}
	if err := c.answer(o, nbdproto.RepAck, nil); err != nil {
		return err
	}
	if o.code == nbdproto.OptGo {
		c.choose(e)
	}
	return nil
}

// metaContext answers LIST_META_CONTEXT and SET_META_CONTEXT.
func (c *conn) metaContext(o optionRequest) error {
	if o.code == nbdproto.OptSetMetaContext {
		c.contexts, c.contextsOf = nil, nil
	}
	if !c.structured {
		return c.refuse(o, nbdproto.RepErrInvalid, "structured replies are needed first")
	}
	name, rest, ok := cutString(o.data)
	if !ok || len(rest) < 4 {
		return c.refuse(o, nbdproto.RepErrInvalid, "malformed request")
	}
	e := c.srv.find(name)
	if e == nil {
		return c.refuse(o, nbdproto.RepErrUnknown, fmt.Sprintf("export '%s' not present", name))
	}
	count := binary.BigEndian.Uint32(rest)
	if count > maxQueries {
		return c.refuse(o, nbdproto.RepErrTooBig, fmt.Sprintf("more than %d queries", maxQueries))
	}
	rest = rest[4:]
	chosen := make([]bool, len(e.Contexts))
	if count == 0 && o.code == nbdproto.OptListMetaContext {
		for i := range chosen {
			chosen[i] = true
		}
	}
	for range count {
		var query string
		if query, rest, ok = cutString(rest); !ok {
			return c.refuse(o, nbdproto.RepErrInvalid, "malformed query")
		}
		for i := range e.Contexts {
			chosen[i] = chosen[i] || matches(e.Contexts[i].Name, query, o.code == nbdproto.OptListMetaContext)
		}
	}
	if len(rest) != 0 {
		return c.refuse(o, nbdproto.RepErrInvalid, "data behind the last query")
	}
	var selected []selection
	for i := range chosen {
		if !chosen[i] {
			continue
		}
		s := selection{id: uint32(i + 1), context: &e.Contexts[i]}
		selected = append(selected, s)
		id := s.id
		if o.code == nbdproto.OptListMetaContext {
			id = 0 // only a selected context has one
		}
		b := binary.BigEndian.AppendUint32(nil, id)
		if err := c.answer(o, nbdproto.RepMetaContext, append(b, s.context.Name...)); err != nil {
			return err
		}
	}
	if o.code == nbdproto.OptSetMetaContext {
		c.contexts, c.contextsOf = selected, e
	}
	return c.answer(o, nbdproto.RepAck, nil)
}

// matches reports whether a query means a context: by its full name or, when
// contexts are listed, by a namespace or the beginning of a leaf's name up to a
// colon.
func matches(name, query string, listing bool) bool {
	if name == query {
		return true
	}
	return listing && strings.HasSuffix(query, ":") && strings.HasPrefix(name, query)
}

// cutString takes a string with its length before it off the front of b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxName || uint64(n) > uint64(len(b)-4) {
		return "", nil, false
	}
	return string(b[4 : 4+n]), b[4+n:], true
}
