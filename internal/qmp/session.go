package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxWaiting is how many requests of a client wait; QEMU has as many.
const maxWaiting = 8

// capabilityOOB lets a client use exec-oob.
const capabilityOOB = "oob"

// session is a client.
type session struct {
	s          *Server
	conn       io.ReadWriteCloser
	out        *outbox
	negotiated atomic.Bool // stored by the reader
	oob        bool        // the reader's
	requests   chan request
}

// request is what a client sends.
type request struct {
	Execute   string          `json:"execute"`
	ExecOOB   string          `json:"exec-oob"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
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
	g.QMP.Version, g.QMP.Capabilities = x.s.config.Version, []string{capabilityOOB}
	x.send(g)
	var writing, working sync.WaitGroup
	writing.Go(x.out.run)
	working.Go(x.work)
	x.read()
	// A client that has sent all may still wait for the answers.
	close(x.requests)
	working.Wait()
	x.out.drain(time.Now().Add(closeLimit))
	x.out.close()
	x.conn.Close()
	writing.Wait()
}

// read takes requests until the client is gone.
func (x *session) read() {
	texts := &splitter{bufio.NewReader(x.conn)}
	for {
		text, err := texts.next(MaxRequest)
		if errors.Is(err, errTooLarge) {
			x.fail(nil, Errorf(GenericError, "JSON token size limit exceeded"))
			x.out.drain(time.Now().Add(closeLimit))
		}
		if err != nil {
			return
		}
		x.take(text)
	}
}

// take handles a request as far as it does not have to wait for others.
func (x *session) take(text []byte) {
	var r request
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &members); err != nil {
		x.fail(nil, Errorf(GenericError, "JSON parse error, %v", err))
		return
	}
	id := members["id"]
	for name := range members {
		if !slices.Contains([]string{"execute", "exec-oob", "arguments", "id"}, name) {
			x.fail(id, Errorf(GenericError, "QMP input member '%s' is unexpected", name))
			return
		}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		x.fail(id, Errorf(GenericError, "QMP input member 'execute' must be a string"))
		return
	}
	switch {
	case r.Execute == "" && r.ExecOOB == "":
		x.fail(id, Errorf(GenericError, "QMP input lacks member 'execute'"))
	case !x.negotiated.Load():
		x.begin(r)
	case r.ExecOOB != "" && (r.Execute != "" || !x.oob):
		x.fail(id, Errorf(GenericError, "QMP input member 'exec-oob' is unexpected"))
	case r.ExecOOB != "":
		x.passQueue(r)
	default:
		x.out.promise(1)
		x.requests <- r
	}
}

// begin is the negotiation.
func (x *session) begin(r request) {
	if r.Execute != negotiate {
		x.fail(r.ID, Errorf(CommandNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'"))
		return
	}
	var c capabilities
	if err := decode(r.Arguments, &c); err != nil {
		x.fail(r.ID, err)
		return
	}
	for _, name := range c.Enable {
		if name != capabilityOOB {
			x.fail(r.ID, Errorf(GenericError, "Capability %q is not available", name))
			return
		}
	}
	x.oob = len(c.Enable) > 0
	x.negotiated.Store(true)
	x.send(response{Return: None{}, ID: r.ID})
}

// passQueue carries out a request out of band.
func (x *session) passQueue(r request) {
	r.Execute = r.ExecOOB
	if c, ok := x.s.commands[r.Execute]; ok && !c.oob {
		x.fail(r.ID, Errorf(GenericError, "The command %s does not support OOB", r.Execute))
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
	c, ok := x.s.commands[r.Execute]
	if !ok {
		x.fail(r.ID, Errorf(CommandNotFound, "The command %s has not been found", r.Execute))
		return
	}
	result, err := c.run(x.s.ctx, r.Arguments)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = Errorf(GenericError, "The server ends")
		}
		x.fail(r.ID, err)
		return
	}
	x.send(response{Return: result, ID: r.ID})
}

func (x *session) fail(id json.RawMessage, err error) { x.send(response{Error: asError(err), ID: id}) }

// send sends an answer, and waits until there is room for it.
func (x *session) send(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		line, _ = json.Marshal(response{Error: asError(err)})
	}
	x.out.put(append(line, "\r\n"...))
}
