package nbd

import (
	"context"
	"net"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
	"github.com/govmm/govmm/internal/sockettest"
)

// TestOnce ends the server when the last client has left, and not when somebody
// only looked.
func TestOnce(t *testing.T) {
	s := &Server{Exports: exports(newRAM(1 << 20)), Once: true}
	path := sockettest.Path(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), l) }()
	looker := dial(t, path)
	looker.option(nbdproto.OptList, nil)
	_ = looker.nc.Close()
	first, second := dial(t, path), dial(t, path)
	first.choose("a", true)
	second.choose("a", true)
	_ = first.nc.Close()
	second.read(0, 4096)
	second.request(nbdproto.CmdDisconnect, 0, 1, 0, 0)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOnceWhenALookerLeavesLast ends the server, too, when who only looked stays
// longer than the last client.
func TestOnceWhenALookerLeavesLast(t *testing.T) {
	s := &Server{Exports: exports(newRAM(1 << 20)), Once: true}
	path := sockettest.Path(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), l) }()
	looker := dial(t, path)
	looker.option(nbdproto.OptList, nil)
	user := dial(t, path)
	user.choose("a", true)
	user.request(nbdproto.CmdDisconnect, 0, 1, 0, 0)
	user.closed()
	_ = looker.nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMultiConn writes on one connection and reads and flushes on another.
func TestMultiConn(t *testing.T) {
	d := newRAM(1 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	a, b := dial(t, path), dial(t, path)
	a.choose("a", true)
	b.choose("a", true)
	a.request(nbdproto.CmdWrite, 0, 1, 100, 5)
	a.put("hello")
	if code := a.simple(1); code != 0 {
		t.Fatal(code)
	}
	if got := b.read(100, 5); string(got) != "hello" {
		t.Errorf("read %q", got)
	}
	b.request(nbdproto.CmdFlush, 0, 2, 0, 0)
	if code := b.simple(2); code != 0 || d.flushes.Load() != 1 {
		t.Error("flush")
	}
}

// TestResizeWhileConnected changes a device's size under a client: what is beyond
// the end is refused from then on, what was gained is served.
func TestResizeWhileConnected(t *testing.T) {
	d := newRAM(1 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true)
	c.read(1<<20-4096, 4096)
	d.resize(512 << 10)
	c.request(nbdproto.CmdRead, 0, 1, 1<<20-4096, 4096)
	if code := c.answer(1, 1<<20-4096, nil); code != nbdproto.ErrnoInval {
		t.Errorf("READ of what was cut: error %d", code)
	}
	c.request(nbdproto.CmdWrite, 0, 2, 512<<10-1, 2)
	c.put("xy")
	if code := c.answer(2, 0, nil); code != nbdproto.ErrnoNoSpace {
		t.Errorf("WRITE to what was cut: error %d", code)
	}
	d.resize(2 << 20)
	c.request(nbdproto.CmdWrite, 0, 3, 2<<20-2, 2)
	c.put("xy")
	if code := c.simple(3); code != 0 {
		t.Errorf("WRITE to what was gained: error %d", code)
	}
	if got := c.read(2<<20-2, 2); string(got) != "xy" {
		t.Errorf("read %q", got)
	}
}
