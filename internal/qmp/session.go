package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxWaiting is how many requests of a client wait; QEMU has as many.
const maxWaiting = 8

// session is a client.
type session struct {
	s          *Server
	conn       io.ReadWriteCloser
	out        *outbox
	negotiated atomic.Bool // stored by the reader
	oob        bool        // the reader's
	requests   chan request
}

// request is what a client sends, or what is wrong with it.
type request struct {
	err     error
	command string
	oob     bool // it is to be carried out out of band
	args    map[string]any
	id      json.RawMessage // nil: there is none
}

// response is what it gets for that.
type response struct {
	Return any             `json:"return,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	ID     json.RawMessage `json:"id,omitempty"`
}

type greeting struct {
	QMP struct {
		Version      Version  `json:"version"`
		Capabilities []string `json:"capabilities"`
	} `json:"QMP"`
}

func newSession(s *Server, conn io.ReadWriteCloser) *session {
	return &session{s: s, conn: conn, out: newOutbox(conn), requests: make(chan request, maxWaiting)}
}

// serve is the life of the session.
func (x *session) serve() {
	var g greeting
	g.QMP.Version, g.QMP.Capabilities = x.s.config.Version, capability("").QMPValues()
	x.send(g)
	var writing, working sync.WaitGroup
	writing.Go(x.out.run)
	working.Go(x.work)
	x.read()
	// A client that has sent all may still wait for the answers.
	close(x.requests)
	working.Wait()
	x.out.drain(time.Now().Add(x.s.patience))
	x.out.close()
	x.conn.Close()
	writing.Wait()
}

// read takes requests until the client is gone.
func (x *session) read() {
	texts := newTexts(bufio.NewReader(x.conn), MaxRequest)
	for {
		text, err := texts.next()
		var broken *Error
		switch {
		case errors.As(err, &broken):
			x.take(request{err: broken})
			continue
		case errors.Is(err, errTooLarge):
			x.take(request{err: Errorf(GenericError, "JSON token size limit exceeded")})
			return
		case err != nil:
			return
		}
		r, err := x.request(text)
		r.err = err
		x.take(r)
	}
}

// request reads a request. The id is there with an error, too.
func (x *session) request(text []byte) (request, error) {
	var r request
	value, err := parse(text)
	if err != nil {
		return r, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return r, Errorf(GenericError, "QMP input must be a JSON object")
	}
	if id, ok := object["id"]; ok {
		if r.id, err = encode(id); err != nil {
			return r, err
		}
	}
	var kinds []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch name {
		case "execute", "exec-oob":
			if name == "exec-oob" && !x.oob {
				return r, Errorf(GenericError, "QMP input member 'exec-oob' is unexpected")
			}
			kinds = append(kinds, name)
			if r.command, ok = object[name].(string); !ok {
				return r, Errorf(GenericError, "QMP input member '%s' must be a string", name)
			}
			r.oob = name == "exec-oob"
		case "arguments":
			if r.args, ok = object[name].(map[string]any); !ok {
				return r, Errorf(GenericError, "QMP input member 'arguments' must be an object")
			}
		case "id":
		default:
			return r, Errorf(GenericError, "QMP input member '%s' is unexpected", name)
		}
	}
	switch len(kinds) {
	case 0:
		return r, Errorf(GenericError, "QMP input lacks member 'execute'")
	case 2:
		return r, Errorf(GenericError, "QMP input member 'execute' clashes with 'exec-oob'")
	}
	return r, nil
}

// take handles a request as far as it does not have to wait for others.
func (x *session) take(r request) {
	switch {
	case !x.negotiated.Load():
		x.begin(r)
	case r.oob && r.err == nil:
		x.passQueue(r)
	default:
		x.out.promise(1)
		x.requests <- r
	}
}

// begin is the negotiation.
func (x *session) begin(r request) {
	if r.err != nil {
		x.fail(r.id, r.err)
		return
	}
	if r.command != negotiate {
		x.fail(r.id, Errorf(CommandNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'"))
		return
	}
	var c capabilities
	if err := decode(r.args, &c); err != nil {
		x.fail(r.id, err)
		return
	}
	x.oob = len(c.Enable) > 0
	x.negotiated.Store(true)
	x.send(response{Return: None{}, ID: r.id})
}

// passQueue carries out a request out of band.
func (x *session) passQueue(r request) {
	if c, ok := x.s.commands[r.command]; ok && !c.oob {
		x.fail(r.id, Errorf(GenericError, "The command %s does not support OOB", r.command))
		return
	}
	x.out.promise(1)
	x.carryOut(r)
	x.out.promise(-1)
}

// work carries out the client's requests, one after the other.
func (x *session) work() {
	for r := range x.requests {
		x.carryOut(r)
		x.out.promise(-1)
	}
}

func (x *session) carryOut(r request) {
	if r.err != nil {
		x.fail(r.id, r.err)
		return
	}
	c, ok := x.s.commands[r.command]
	if !ok {
		x.fail(r.id, Errorf(CommandNotFound, "The command %s has not been found", r.command))
		return
	}
	result, err := c.run(x.s.ctx, r.args)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = Errorf(GenericError, "The server ends")
		}
		x.fail(r.id, err)
		return
	}
	x.send(response{Return: result, ID: r.id})
}

func (x *session) fail(id json.RawMessage, err error) { x.send(response{Error: asError(err), ID: id}) }

// send sends an answer, and waits until there is room for it.
func (x *session) send(v any) {
	line, err := encode(v)
	if err != nil {
		line, _ = encode(response{Error: asError(err)})
	}
	x.out.put(append(line, "\r\n"...))
}
