package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestHostile sends what no client should.
func TestHostile(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20))})
	for name, attack := range map[string]func(c *client){
		"option magic":         func(c *client) { c.put(uint64(1), uint32(nbdproto.OptGo), uint32(0)) },
		"export name of 4 GiB": func(c *client) { c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptExportName), uint32(1<<32-1)) },
		"request magic": func(c *client) {
			c.choose("a", true)
			c.put(uint32(1), make([]byte, 24))
		},
		"half a request": func(c *client) {
			c.choose("a", true)
			c.put(uint32(nbdproto.MagicRequest))
			_ = c.nc.(*net.UnixConn).CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, path)
			attack(c)
			c.closed()
		})
	}
	t.Run("client flags", func(t *testing.T) {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		if _, err := nc.Write([]byte{0xff, 0, 0, 3}); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(nc); len(b) != 18 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%x, %v", b, err)
		}
	})
	// Nobody else was hurt.
	c := dial(t, path)
	c.choose("a", true)
	c.read(0, 4096)
}

// TestRefusedWriteDoesNotHoldUpReplies sends a WRITE that will be refused, and the
// payload only when the READ before it was answered.
func TestRefusedWriteDoesNotHoldUpReplies(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20))})
	c := dial(t, path)
	c.choose("a", false)
	be := binary.BigEndian
	var both []byte
	for _, cmd := range []command{nbdproto.CmdRead, nbdproto.CmdWrite} {
		both = be.AppendUint64(be.AppendUint32(both, nbdproto.MagicRequest), uint64(cmd)<<32)
		both = be.AppendUint32(be.AppendUint64(append(both, 0, 0, 0, byte(cmd)), uint64(cmd)<<40), 4096)
	}
	c.put(both)
	if code := c.simple(0); code != 0 {
		t.Error(code)
	}
	c.get(4096)
	c.put(make([]byte, 4096))
	if code := c.simple(uint64(nbdproto.CmdWrite)); code != nbdproto.ErrnoNoSpace {
		t.Errorf("error %d", code)
	}
}

// TestClientThatTakesNoReplies asks for much and reads nothing: the connection
// stops, with a bounded part of it in memory, and ends with the server.
func TestClientThatTakesNoReplies(t *testing.T) {
	d := newRAM(8 << 20)
	for i := range d.written {
		d.written[i] = true
	}
	s := &Server{Exports: exports(d)}
	path, stop := start(t, s)
	c := dial(t, path)
	c.choose("a", true)
	for i := range uint64(64) {
		c.request(nbdproto.CmdRead, 0, i, 0, 8<<20)
	}
	other := dial(t, path)
	other.choose("a", true)
	other.read(0, 1<<20)
	s.mu.Lock()
	for sc := range s.conns {
		sc.budget.mu.Lock()
		if sc.budget.left < 0 {
			t.Errorf("budget overdrawn by %d", -sc.budget.left)
		}
		sc.budget.mu.Unlock()
	}
	s.mu.Unlock()
	_ = c.nc.Close()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestRepliesThatNobodyTakesAreBounded sends requests without payload and takes no
// reply: the server stops receiving before much has collected.
func TestRepliesThatNobodyTakesAreBounded(t *testing.T) {
	for name, cmd := range map[string]command{"FLUSH": nbdproto.CmdFlush, "BLOCK_STATUS": nbdproto.CmdBlockStatus} {
		t.Run(name, func(t *testing.T) {
			d := newRAM(1 << 20)
			for i := range d.written {
				d.written[i] = i%2 == 0
			}
			path, stop := start(t, &Server{Exports: exports(d)})
			c := dial(t, path)
			c.choose("a", true, BaseAllocation)
			one := binary.BigEndian.AppendUint32(nil, nbdproto.MagicRequest)
			one = binary.BigEndian.AppendUint64(one, uint64(cmd)<<32)
			one = append(one, make([]byte, 12)...)
			one = binary.BigEndian.AppendUint32(one, 1<<20)
			c.flood(one, 16<<20)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// FuzzConnection lets anything arrive: the server neither panics nor hangs.
func FuzzConnection(f *testing.F) {
	be := binary.BigEndian
	option := func(code uint32, data []byte) []byte {
		b := be.AppendUint64(nil, nbdproto.MagicOption)
		b = be.AppendUint32(b, code)
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	request := func(cmd command, off uint64, n uint32) []byte {
		b := be.AppendUint32(nil, nbdproto.MagicRequest)
		b = be.AppendUint32(b, uint32(cmd))
		b = be.AppendUint64(b, 1)
		return be.AppendUint32(be.AppendUint64(b, off), n)
	}
	hello := []byte{0, 0, 0, 3}
	f.Add(bytes.Join([][]byte{hello, option(nbdproto.OptList, nil), option(nbdproto.OptAbort, nil)}, nil))
	enter := bytes.Join([][]byte{
		hello, option(nbdproto.OptStructuredReply, nil),
		option(nbdproto.OptSetMetaContext, append(append(str("a"), 0, 0, 0, 1), str(BaseAllocation)...)),
		option(nbdproto.OptGo, append(str("a"), 0, 0)),
	}, nil)
	for cmd := range command(commands) {
		f.Add(append(bytes.Clone(enter), request(cmd, 4096, 64<<10)...))
	}
	f.Add(append(hello, option(nbdproto.OptExportName, []byte("a"))...))
	batch := bytes.Clone(enter)
	for i := range uint64(20) {
		batch = append(batch, request(command(i%2), i*4096, 4096)...)
		batch = append(batch, make([]byte, 4096*(i%2))...)
	}
	f.Add(batch)
	f.Add(append(batch, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &Server{Exports: exports(newRAM(256 << 10))}
		if len(data)%2 == 1 {
			s.Exports[0].Device = &starting{ram: newRAM(256 << 10)}
		}
		ours, theirs := net.Pipe()
		c := newConn(s, ours)
		if !s.admit(c) {
			t.Fatal("not admitted")
		}
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() {
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		c.serve()
		s.dismiss(c)
		if c.over != nil && !errors.Is(c.over, io.EOF) && c.export == nil {
			t.Errorf("%v without an export", c.over)
		}
	})
}
