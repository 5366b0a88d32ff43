package qmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"
)

// MaxClients is how many clients a server has at a time.
const MaxClients = 32

// Version is what the greeting says of the server.
type Version struct {
	QEMU struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
		Micro int `json:"micro"`
	} `json:"qemu"`
	Package string `json:"package"`
}

// Config describes a server.
type Config struct {
	Version  Version
	Commands []Command
	// Events has a value of the type of its data for each event that there is.
	Events map[string]any
	// Throttled names events that guests can cause without end. Of those with the
	// same data a client gets one at once and then one a second, the last.
	Throttled []string
	Logger    *slog.Logger // nil discards
}

// Server carries out commands and sends events.
type Server struct {
	config   Config
	period   time.Duration // throttlePeriod, but in tests
	patience time.Duration // closeLimit, but in tests
	log      *slog.Logger
	commands map[string]Command
	schema   func() []SchemaInfo // made when it is asked for: few clients do
	ctx      context.Context
	cancel   context.CancelFunc
	sessions sync.WaitGroup

	mu      sync.Mutex
	clients map[*session]struct{} // guarded by mu; nil once closed
	recent  map[string]*throttled // guarded by mu: by name and data; nil once closed
}

// NewServer returns a server with the given commands, and those about itself:
// query-version, query-commands and query-qmp-schema.
func NewServer(c Config) *Server {
	s := &Server{config: c, period: throttlePeriod, patience: closeLimit, log: c.Logger, commands: map[string]Command{}, clients: map[*session]struct{}{}, recent: map[string]*throttled{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	commands := append(slices.Clone(c.Commands),
		NewCommand("query-version", func(context.Context, None) (Version, error) { return c.Version, nil }),
		NewCommand("query-commands", func(context.Context, None) ([]CommandInfo, error) { return s.list(), nil }),
		NewCommand("query-qmp-schema", func(context.Context, None) ([]SchemaInfo, error) { return s.schema(), nil }),
		NewCommand(negotiate, func(context.Context, capabilities) (None, error) {
			return None{}, Errorf(CommandNotFound, "Capabilities negotiation is already complete, command ignored")
		}),
	)
	for _, x := range commands {
		s.commands[x.name] = x
	}
	events := map[string]reflect.Type{}
	for name, data := range c.Events {
		events[name] = reflect.TypeOf(data)
	}
	s.schema = sync.OnceValue(func() []SchemaInfo { return makeSchema(commands, events) })
	return s
}

// negotiate is the command that a client begins with, capabilities its arguments.
const negotiate = "qmp_capabilities"

type capabilities struct {
	Enable []capability `json:"enable,omitempty"`
}

// capability is what a client may ask for: to use exec-oob.
type capability string

func (capability) QMPValues() []string { return []string{"oob"} }

// CommandInfo is an element of what query-commands returns.
type CommandInfo struct {
	Name string `json:"name"`
}

func (s *Server) list() []CommandInfo {
	var list []CommandInfo
	for name := range s.commands {
		list = append(list, CommandInfo{name})
	}
	slices.SortFunc(list, func(a, b CommandInfo) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// Serve accepts clients until the listener is closed, which it does itself when the
// server is.
func (s *Server) Serve(l net.Listener) error {
	stop := context.AfterFunc(s.ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		s.ServeConn(conn)
	}
}

// ServeConn serves a client on a connection that is the server's from then on. It
// does not wait.
func (s *Server) ServeConn(conn io.ReadWriteCloser) {
	x := newSession(s, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil || len(s.clients) >= MaxClients {
		s.log.Warn("too many clients")
		conn.Close()
		return
	}
	s.clients[x] = struct{}{}
	s.sessions.Go(func() {
		x.serve()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, x)
	})
}

// event is what clients are sent without having asked.
type event struct {
	Event     string    `json:"event"`
	Data      any       `json:"data,omitempty"`
	Timestamp timestamp `json:"timestamp"`
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int   `json:"microseconds"`
}

// Emit sends an event to all clients that have ended their negotiation. It does not
// wait for them. data may be nil.
func (s *Server) Emit(name string, data any) {
	now := time.Now()
	line, err := encode(event{name, data, timestamp{now.Unix(), now.Nanosecond() / 1000}})
	if err != nil {
		s.log.Error("an event can't be sent", "event", name, "err", err)
		return
	}
	line = append(line, "\r\n"...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.throttle(name, data, line) {
		s.broadcast(line)
	}
}

// broadcast sends a line to all clients.
//
// Preconditions: s.mu is held.
func (s *Server) broadcast(line []byte) {
	for x := range s.clients {
		if x.negotiated.Load() && !x.out.offer(line) {
			s.log.Warn("a client that does not read its events is cut off")
			x.conn.Close()
		}
	}
}

// throttlePeriod is the time between events of a kind that is throttled.
const throttlePeriod = time.Second

// throttled is an event that came less than throttlePeriod ago.
type throttled struct {
	next []byte // the last one since, nil if there was none
}

// throttle keeps an event for later if one like it was just sent.
//
// Preconditions: s.mu is held.
func (s *Server) throttle(name string, data any, line []byte) (kept bool) {
	if !slices.Contains(s.config.Throttled, name) || s.clients == nil {
		return false
	}
	key := fmt.Sprintf("%s %+v", name, data)
	if t := s.recent[key]; t != nil {
		t.next = line
		return true
	}
	s.recent[key] = &throttled{}
	time.AfterFunc(s.period, func() { s.unthrottle(key) })
	return false
}

// unthrottle ends a period: what came in it is told now, and begins another.
func (s *Server) unthrottle(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.recent[key]
	if t == nil || t.next == nil {
		delete(s.recent, key)
		return
	}
	s.broadcast(t.next)
	t.next = nil
	time.AfterFunc(s.period, func() { s.unthrottle(key) })
}

// closeLimit is how long the end of a session waits for its client to take what was sent
// to it. Where the host gives this process little of a processor, so long may pass before
// anything is written.
const closeLimit = 10 * time.Second

// Close sends what is left to send, cuts off all clients and waits until no command
// is being carried out.
func (s *Server) Close() {
	s.mu.Lock()
	for _, t := range s.recent {
		if t.next != nil {
			s.broadcast(t.next)
		}
	}
	clients := s.clients
	s.clients, s.recent = nil, nil
	s.mu.Unlock()
	s.cancel()
	deadline := time.Now().Add(s.patience)
	for x := range clients {
		x.out.drain(deadline)
		x.conn.Close()
	}
	s.sessions.Wait()
}
