package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// DefaultMaxConnections is how many clients a Server admits at a time unless it
// says otherwise.
const DefaultMaxConnections = 16

// Server serves exports to the clients of listeners. The fields are set before
// the first call and not changed afterwards.
type Server struct {
	Exports []Export
	// Exact has the empty name be that of an export alone, and not mean the only one.
	Exact bool
	// TLS, if set, is demanded of every client before anything else.
	TLS *tls.Config
	// MaxConnections is how many clients are admitted at a time; 0 means
	// DefaultMaxConnections. Others wait until one leaves.
	MaxConnections int
	// Once ends Serve after the last client has left.
	Once bool
	// Logger hears of clients that come, go and misbehave; nil means nobody does.
	Logger *slog.Logger
	// Processors, if set, is called when another number of processors is of use to the
	// requests at hand, one call at a time; GoProcessors is meant for it. Where all
	// requests are started, a second one costs more than it gives: whenever one of its
	// threads wakes, Go's scheduler wakes another, to look for what may have come as well.
	Processors func(n int)

	buffers bufferPool
	breadth breadth

	mu      sync.Mutex
	conns   map[*conn]struct{} // guarded by mu, with all below
	ending  bool
	served  bool // a client that chose an export has left
	clients sync.WaitGroup
}

// Validate reports what is wrong with the exports.
func (s *Server) Validate() error {
	if len(s.Exports) == 0 {
		return errors.New("no export")
	}
	names := make(map[string]bool)
	for i := range s.Exports {
		e := &s.Exports[i]
		if err := e.validate(); err != nil {
			return err
		}
		if names[e.Name] {
			return fmt.Errorf("two exports are named %q", e.Name)
		}
		names[e.Name] = true
	}
	return nil
}

// find is the export that a client means by a name, nil if there is none. The
// empty name means the only export, if there is just one, unless names are exact.
func (s *Server) find(name string) *Export {
	for i := range s.Exports {
		if s.Exports[i].Name == name {
			return &s.Exports[i]
		}
	}
	if name == "" && len(s.Exports) == 1 && !s.Exact {
		return &s.Exports[0]
	}
	return nil
}

// Serve admits clients from l and serves them until ctx is done or, with Once,
// until the last has left. It then closes l, lets every request that was
// received get its reply, closes the connections, and flushes the devices.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.Validate(); err != nil {
		return err
	}
	s.breadth.set = s.Processors
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close(); s.end() })
	defer stop()

	limit := s.MaxConnections
	if limit == 0 {
		limit = DefaultMaxConnections
	}
	slots := make(chan struct{}, limit)
	var failed error
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil {
				failed = fmt.Errorf("accept: %w", err)
			}
			break
		}
		c := newConn(s, nc)
		if !s.admit(c) {
			_ = nc.Close()
			break
		}
		go func() {
			s.breadth.connected(1)
			c.serve()
			s.breadth.connected(-1)
			if s.dismiss(c) && s.Once {
				cancel()
			}
			<-slots
		}()
	}
	cancel()
	_ = l.Close()
	s.end()
	s.clients.Wait()
	return errors.Join(failed, s.flush())
}

// admit registers a connection, unless the server is ending.
func (s *Server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}
	s.clients.Add(1)
	return true
}

// dismiss forgets a connection and reports whether a client was served, by this
// connection or an earlier one, and no connection is left. A connection that never
// chose an export was no client, whenever it leaves.
func (s *Server) dismiss(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.clients.Done()
	s.served = s.served || c.export != nil
	return s.served && len(s.conns) == 0
}

// end makes all connections stop receiving.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	for c := range s.conns {
		c.stop()
	}
}

func (s *Server) flush() error {
	var errs []error
	for i := range s.Exports {
		if e := &s.Exports[i]; !e.readOnly() {
			if err := e.Device.Flush(); err != nil {
				errs = append(errs, fmt.Errorf("flush export %q: %w", e.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}
