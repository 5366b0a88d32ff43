package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func exports(devices ...*ram) []Export {
	var list []Export
	for i, d := range devices {
		list = append(list, Export{
			Name: string(rune('a' + i)), Description: "disk", Device: d, FastZero: true, Contexts: d.contexts(),
		})
	}
	return list
}

// TestHandshake walks through the options.
func TestHandshake(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1<<20), newRAM(2<<20))})
	c := dial(t, path)
	kinds := func(replies []optionReply) (list []uint32) {
		for _, r := range replies {
			list = append(list, r.kind)
		}
		return list
	}
	expect := func(what string, replies []optionReply, want ...uint32) {
		t.Helper()
		got := kinds(replies)
		if len(got) != len(want) {
			t.Fatalf("%s: replies %#x, want %#x", what, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: replies %#x, want %#x", what, got, want)
			}
		}
	}
	list := c.option(optList, nil)
	expect("LIST", list, repServer, repServer, repAck)
	if s := string(list[1].data); s != "\x00\x00\x00\x01bdisk" {
		t.Errorf("second export %q", s)
	}
	expect("LIST with data", c.option(optList, []byte{1}), repErrInvalid)
	expect("unknown option", c.option(77, []byte("abc")), repErrUnsup)
	expect("extended headers", c.option(11, nil), repErrUnsup)
	expect("STARTTLS without TLS", c.option(optStartTLS, nil), repErrPolicy)
	expect("long option", c.option(77, make([]byte, maxOptionData+1)), repErrTooBig)
	expect("unknown export", c.option(optInfo, append(str("nope"), 0, 0)), repErrUnknown)
	expect("the default of two", c.option(optInfo, append(str(""), 0, 0)), repErrUnknown)
	expect("short INFO", c.option(optInfo, []byte{0, 0, 0, 9, 'a'}), repErrInvalid)
	expect("INFO that lies about its length", c.option(optInfo, append(str("a"), 0, 9)), repErrInvalid)
	expect("contexts without structured replies",
		c.option(optListMetaContext, append(str("a"), 0, 0, 0, 0)), repErrInvalid)
	expect("STRUCTURED_REPLY", c.option(optStructuredReply, nil), repAck)

	info := c.option(optInfo, append(str("b"), 0, 3, 0, infoName, 0, infoDescription, 0, infoBlockSize))
	expect("INFO", info, repInfo, repInfo, repInfo, repInfo, repAck)
	if got := string(info[0].data[2:]) + "," + string(info[1].data[2:]); got != "b,disk" {
		t.Errorf("name and description %q", got)
	}
	if size := binary.BigEndian.Uint64(info[3].data[2:]); size != 2<<20 {
		t.Errorf("size %d", size)
	}
	many := append(append(str("b"), 0x1f, 0xff), bytes.Repeat([]byte{0, infoName}, 0x1fff)...)
	expect("INFO that asks for the name 8191 times", c.option(optInfo, many), repInfo, repInfo, repInfo, repAck)

	query := func(code uint32, queries ...string) []optionReply {
		data := append(str("a"), 0, 0, 0, byte(len(queries)))
		for _, q := range queries {
			data = append(data, str(q)...)
		}
		return c.option(code, data)
	}
	expect("all contexts", query(optListMetaContext), repMetaContext, repMetaContext, repAck)
	expect("a namespace", query(optListMetaContext, "qemu:"), repMetaContext, repAck)
	expect("a namespace is no selection", query(optSetMetaContext, "qemu:"), repAck)
	expect("no context", query(optListMetaContext, "base:other"), repAck)
	expect("two, one of them twice", query(optSetMetaContext, "base:allocation", "base:allocation", "qemu:dirty-bitmap:b0"),
		repMetaContext, repMetaContext, repAck)
	expect("a query that is cut off", c.option(optSetMetaContext, append(str("a"), 0, 0, 0, 1, 0, 0, 0, 9, 'x')), repErrInvalid)
	expect("too many queries", c.option(optSetMetaContext, append(str("a"), 0xff, 0, 0, 1)), repErrTooBig)

	c.put(uint64(magicOption), uint32(optAbort), uint32(0))
	c.get(20)
	c.closed()
}

// TestExportName is the handshake of old clients.
func TestExportName(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20))})
	c := dial(t, path)
	c.put(uint64(magicOption), uint32(optExportName), uint32(0))
	if b := c.get(10); binary.BigEndian.Uint64(b) != 1<<20 {
		t.Errorf("size %x", b)
	}
	c.request(cmdRead, 0, 5, 0, 10)
	if code := c.simple(5); code != 0 || !bytes.Equal(c.get(10), make([]byte, 10)) {
		t.Error(code)
	}
	c.request(cmdDisconnect, 0, 6, 0, 0)
	c.closed()

	c = dial(t, path)
	c.put(uint64(magicOption), uint32(optExportName), uint32(4), "nope")
	c.closed()
}

// TestCommands runs every command with every flag, by simple and by structured
// replies.
func TestCommands(t *testing.T) {
	for _, structured := range []bool{false, true} {
		d := newRAM(8 << 20)
		path, _ := start(t, &Server{Exports: exports(d)})
		c := dial(t, path)
		c.choose("a", structured)
		code := func(cookie uint64) uint32 {
			if structured && cookie >= 100 { // errors and READs come in chunks
				return c.answer(cookie, 0, nil)
			}
			return c.simple(cookie)
		}
		data := make([]byte, 3<<20)
		for i := range data {
			data[i] = byte(i % 251)
		}
		c.request(cmdWrite, 0, 1, 1000, uint32(len(data)))
		c.put(data)
		if code(1) != 0 {
			t.Error("write")
		}
		c.request(cmdFlush, 0, 2, 0, 0)
		if code(2) != 0 || d.flushes.Load() != 1 {
			t.Errorf("flush, %d flushes", d.flushes.Load())
		}
		c.request(cmdWrite, cmdFlagFUA, 3, 7<<20, 1)
		c.put("x")
		if code(3) != 0 || d.flushes.Load() != 2 {
			t.Errorf("FUA, %d flushes", d.flushes.Load())
		}
		c.request(cmdWriteZeroes, cmdFlagNoHole, 4, 8192, 8192)
		if code(4) != 0 || d.contents()[8192] != 0 || !d.holds(2) {
			t.Error("WRITE_ZEROES with NO_HOLE")
		}
		c.request(cmdWriteZeroes, cmdFlagFastZero|cmdFlagFUA, 5, 16384, 8192)
		if code(5) != 0 || d.contents()[16384] != 0 || d.holds(4) || d.flushes.Load() != 3 {
			t.Error("WRITE_ZEROES")
		}
		c.request(cmdTrim, 0, 6, 1<<20, 1<<20)
		if code(6) != 0 || d.holds(300) {
			t.Error("TRIM")
		}
		c.request(cmdCache, 0, 7, 0, 8<<20)
		if code(7) != 0 {
			t.Error("CACHE")
		}
		if structured {
			if !bytes.Equal(c.read(0, 8<<20), d.contents()) {
				t.Error("READ of everything")
			}
			if !bytes.Equal(c.read(8191, 16386), d.contents()[8191:][:16386]) {
				t.Error("READ")
			}
		} else {
			c.request(cmdRead, 0, 8, 0, 8<<20)
			if code(8) != 0 || !bytes.Equal(c.get(8<<20), d.contents()) {
				t.Error("READ of everything")
			}
		}
		for i, tt := range []struct {
			cmd    command
			flags  uint16
			off    uint64
			length uint32
			want   uint32
		}{
			{cmdRead, 0, 8 << 20, 1, errnoInval},
			{cmdRead, 0, 1 << 63, 1, errnoInval},
			{cmdRead, 0, 0, MaxRequest + 1, errnoInval},
			{cmdWriteZeroes, 0, 8<<20 - 1, 2, errnoNoSpace},
			{cmdTrim, 0, 8<<20 - 1, 2, errnoInval},
			{cmdTrim, cmdFlagNoHole, 0, 512, errnoInval},
			{cmdFlush, cmdFlagDF, 0, 0, errnoInval},
			{cmdBlockStatus, 0, 0, 512, errnoInval},
			{8, 0, 0, 512, errnoInval},
			{77, 0, 0, 0, errnoInval},
		} {
			cookie := uint64(100 + i)
			c.request(tt.cmd, tt.flags, cookie, tt.off, tt.length)
			if got := code(cookie); got != tt.want {
				t.Errorf("%+v: error %d", tt, got)
			}
		}
		c.request(cmdWrite, 0, 200, 8<<20-1, 2)
		c.put("xy")
		if code(200) != errnoNoSpace {
			t.Error("WRITE beyond the end")
		}
		d.fail.Store(true)
		c.request(cmdWrite, 0, 201, 0, 2)
		c.put("xy")
		if code(201) != errnoNoSpace {
			t.Error("ENOSPC")
		}
		c.request(cmdRead, 0, 202, 0, 2)
		if code(202) != errnoIO {
			t.Error("a failing READ")
		}
	}
}

// TestReadFailsInTheMiddle closes the stream of a client that was promised bytes.
func TestReadFailsInTheMiddle(t *testing.T) {
	d := newRAM(4 << 20)
	d.gate = make(chan struct{})
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", false)
	c.request(cmdRead, 0, 1, 0, 4<<20)
	d.gate <- struct{}{}
	if code := c.simple(1); code != 0 {
		t.Fatal(code)
	}
	c.get(pieceSize)
	d.fail.Store(true)
	d.gate <- struct{}{}
	c.closed()
}

// TestReadOnly refuses writes and still reads.
func TestReadOnly(t *testing.T) {
	e := exports(newRAM(1 << 20))
	e[0].ReadOnly = true
	path, _ := start(t, &Server{Exports: e})
	c := dial(t, path)
	info := c.option(optInfo, append(str("a"), 0, 0))
	if flags := binary.BigEndian.Uint16(info[1].data[10:]); flags&flagReadOnly == 0 || flags&(flagSendTrim|flagSendWriteZeroes) != 0 {
		t.Errorf("flags %#x", flags)
	}
	c.choose("a", true)
	c.request(cmdWrite, 0, 1, 0, 3)
	c.put("abc")
	c.request(cmdTrim, 0, 2, 0, 4096)
	c.request(cmdWriteZeroes, 0, 3, 0, 4096)
	for cookie := range uint64(3) {
		if code := c.answer(cookie+1, 0, nil); code != errnoPerm {
			t.Errorf("request %d: error %d", cookie+1, code)
		}
	}
	c.read(0, 4096)
}

// TestBlockStatus asks for both contexts of an export.
func TestBlockStatus(t *testing.T) {
	d := newRAM(1 << 20)
	if err := d.WriteV([][]byte{make([]byte, 8192)}, 128<<10); err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true, "base:allocation", "qemu:dirty-bitmap:b0")
	c.request(cmdBlockStatus, 0, 1, 0, 1<<20)
	words := func(ch chunkReply) (list []uint32) {
		for b := ch.data; len(b) > 0; b = b[4:] {
			list = append(list, binary.BigEndian.Uint32(b))
		}
		return list
	}
	for i, want := range [][]uint32{
		{1, 128 << 10, 3, 8192, 0, 1<<20 - 136<<10, 3},
		{2, 64 << 10, 1, 1<<20 - 64<<10, 0},
	} {
		ch := c.chunk()
		if got := words(ch); ch.kind != chunkBlockStatus || ch.last != (i == 1) || !equal(got, want) {
			t.Errorf("context %d: %+v %v, want %v", i, ch, got, want)
		}
	}
	c.request(cmdBlockStatus, cmdFlagReqOne, 2, 4096, 1<<20-4096)
	if got := words(c.chunk()); !equal(got, []uint32{1, 124 << 10, 3}) {
		t.Errorf("REQ_ONE: %v", got)
	}
	c.chunk()
	c.request(cmdBlockStatus, 0, 3, 0, 0)
	if code := c.answer(3, 0, nil); code != errnoInval {
		t.Errorf("status of nothing: %d", code)
	}
}

func equal(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestHolesAreNotSent answers a READ of a hole with a few bytes.
func TestHolesAreNotSent(t *testing.T) {
	d := newRAM(8 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true)
	c.request(cmdRead, 0, 1, 0, 8<<20)
	for total := 0; total < 8<<20; {
		ch := c.chunk()
		if ch.kind != chunkOffsetHole {
			t.Fatalf("chunk of kind %d", ch.kind)
		}
		total += int(binary.BigEndian.Uint32(ch.data[8:]))
	}
	c.request(cmdRead, cmdFlagDF, 2, 0, 1<<20)
	if ch := c.chunk(); ch.kind != chunkOffsetData || len(ch.data) != 8+1<<20 || !ch.last {
		t.Errorf("with DF: chunk of kind %d, %d bytes", ch.kind, len(ch.data))
	}
	c.request(cmdRead, cmdFlagDF, 3, 0, 2<<20)
	if code := c.answer(3, 0, nil); code != errnoOverflow {
		t.Errorf("DF of 2 MiB: error %d", code)
	}
}

// TestSlowRequestsDoNotHoldUpOthers has one READ wait in the device while
// requests behind it are answered.
func TestSlowRequestsDoNotHoldUpOthers(t *testing.T) {
	d := newRAM(1 << 20)
	d.gate = make(chan struct{})
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", false)
	// The first READ teaches the connection that READs are slow.
	c.request(cmdRead, 0, 1, 0, 1)
	time.Sleep(time.Millisecond) // not a wait for something: this READ takes a millisecond
	d.gate <- struct{}{}
	c.simple(1)
	c.get(1)
	c.request(cmdRead, 0, 2, 0, 1)
	c.request(cmdFlush, 0, 3, 0, 0)
	if code := c.simple(3); code != 0 {
		t.Error(code)
	}
	close(d.gate)
	if code := c.simple(2); code != 0 {
		t.Error(code)
	}
}

// pausing is a device where READs take a moment, and one at an offset takes as long
// as the test wants.
type pausing struct{ *slowAt }

func (d pausing) ReadV(bufs [][]byte, off int64) error {
	time.Sleep(50 * time.Microsecond) // what it simulates, not a wait for something
	return d.slowAt.ReadV(bufs, off)
}

// TestClientThatWasAloneSendsMore has a client send one READ after the other, until
// the server does not pass the receive lock on for it any more, and then two requests
// at once: the first does not hold up the second.
func TestClientThatWasAloneSendsMore(t *testing.T) {
	long := &wait{make(chan struct{}), make(chan struct{})}
	d := pausing{&slowAt{newRAM(1 << 20), map[int64]*wait{4096: long}}}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	for i := range uint64(3 * lonely) {
		c.request(cmdRead, 0, i, 0, 1)
		if code := c.simple(i); code != 0 {
			t.Fatal(code)
		}
		c.get(1)
	}
	be := binary.BigEndian
	one := func(cmd command, off uint64, n uint32) []byte {
		b := be.AppendUint64(be.AppendUint32(nil, magicRequest), uint64(cmd)<<32)
		return be.AppendUint32(be.AppendUint64(append(b, 0, 0, 0, byte(cmd)), off), n)
	}
	c.put(one(cmdRead, 4096, 1), one(cmdFlush, 0, 0))
	if code := c.simple(uint64(cmdFlush)); code != 0 {
		t.Error(code)
	}
	close(long.end)
	if code := c.simple(uint64(cmdRead)); code != 0 {
		t.Error(code)
	}
}

// TestEndFinishesWhatWasReceived ends the server while a request runs: it gets
// its reply, and the device is flushed.
func TestEndFinishesWhatWasReceived(t *testing.T) {
	d := newRAM(1 << 20)
	d.gate = make(chan struct{})
	path, stop := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", false)
	c.request(cmdRead, 0, 1, 0, 1)
	d.gate <- struct{}{} // the device has the request
	ended := make(chan error)
	go func() { ended <- stop() }()
	if code := c.simple(1); code != 0 {
		t.Error(code)
	}
	c.get(1)
	if err := <-ended; err != nil || d.flushes.Load() == 0 {
		t.Errorf("%v, %d flushes", err, d.flushes.Load())
	}
	c.closed()
}

// TestOnce ends the server when the last client has left, and not when somebody
// only looked.
func TestOnce(t *testing.T) {
	s := &Server{Exports: exports(newRAM(1 << 20)), Once: true}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), l) }()
	looker := dial(t, path)
	looker.option(optList, nil)
	_ = looker.nc.Close()
	first, second := dial(t, path), dial(t, path)
	first.choose("a", true)
	second.choose("a", true)
	_ = first.nc.Close()
	second.read(0, 4096)
	second.request(cmdDisconnect, 0, 1, 0, 0)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOnceWhenALookerLeavesLast ends the server, too, when who only looked stays
// longer than the last client.
func TestOnceWhenALookerLeavesLast(t *testing.T) {
	s := &Server{Exports: exports(newRAM(1 << 20)), Once: true}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), l) }()
	looker := dial(t, path)
	looker.option(optList, nil)
	user := dial(t, path)
	user.choose("a", true)
	user.request(cmdDisconnect, 0, 1, 0, 0)
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
	a.request(cmdWrite, 0, 1, 100, 5)
	a.put("hello")
	if code := a.simple(1); code != 0 {
		t.Fatal(code)
	}
	if got := b.read(100, 5); string(got) != "hello" {
		t.Errorf("read %q", got)
	}
	b.request(cmdFlush, 0, 2, 0, 0)
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
	c.request(cmdRead, 0, 1, 1<<20-4096, 4096)
	if code := c.answer(1, 1<<20-4096, nil); code != errnoInval {
		t.Errorf("READ of what was cut: error %d", code)
	}
	c.request(cmdWrite, 0, 2, 512<<10-1, 2)
	c.put("xy")
	if code := c.answer(2, 0, nil); code != errnoNoSpace {
		t.Errorf("WRITE to what was cut: error %d", code)
	}
	d.resize(2 << 20)
	c.request(cmdWrite, 0, 3, 2<<20-2, 2)
	c.put("xy")
	if code := c.simple(3); code != 0 {
		t.Errorf("WRITE to what was gained: error %d", code)
	}
	if got := c.read(2<<20-2, 2); string(got) != "xy" {
		t.Errorf("read %q", got)
	}
}

// TestHostile sends what no client should.
func TestHostile(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20))})
	for name, attack := range map[string]func(c *client){
		"option magic":         func(c *client) { c.put(uint64(1), uint32(optGo), uint32(0)) },
		"export name of 4 GiB": func(c *client) { c.put(uint64(magicOption), uint32(optExportName), uint32(1<<32-1)) },
		"request magic": func(c *client) {
			c.choose("a", true)
			c.put(uint32(1), make([]byte, 24))
		},
		"half a request": func(c *client) {
			c.choose("a", true)
			c.put(uint32(magicRequest))
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
	for _, cmd := range []command{cmdRead, cmdWrite} {
		both = be.AppendUint64(be.AppendUint32(both, magicRequest), uint64(cmd)<<32)
		both = be.AppendUint32(be.AppendUint64(append(both, 0, 0, 0, byte(cmd)), uint64(cmd)<<40), 4096)
	}
	c.put(both)
	if code := c.simple(0); code != 0 {
		t.Error(code)
	}
	c.get(4096)
	c.put(make([]byte, 4096))
	if code := c.simple(uint64(cmdWrite)); code != errnoNoSpace {
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
		c.request(cmdRead, 0, i, 0, 8<<20)
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
	for name, cmd := range map[string]command{"FLUSH": cmdFlush, "BLOCK_STATUS": cmdBlockStatus} {
		t.Run(name, func(t *testing.T) {
			d := newRAM(1 << 20)
			for i := range d.written {
				d.written[i] = i%2 == 0
			}
			path, stop := start(t, &Server{Exports: exports(d)})
			c := dial(t, path)
			c.choose("a", true, BaseAllocation)
			one := binary.BigEndian.AppendUint32(nil, magicRequest)
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

// slowAt is a device where READs at some offsets wait.
type slowAt struct {
	*ram
	at map[int64]*wait
}

type wait struct{ reached, end chan struct{} }

func (d *slowAt) ReadV(bufs [][]byte, off int64) error {
	if w := d.at[off]; w != nil {
		close(w.reached)
		<-w.end
	}
	return d.ram.ReadV(bufs, off)
}

// TestLongSimpleReplyIsNotInterrupted has a READ end while another, of several
// pieces, is answered to a client that knows only simple replies: its reply does not
// get between the pieces.
func TestLongSimpleReplyIsNotInterrupted(t *testing.T) {
	const slow, long = 3 << 20, 0 // offsets, and cookies
	newWait := func() *wait { return &wait{make(chan struct{}), make(chan struct{})} }
	first, second := newWait(), newWait()
	d := &slowAt{newRAM(4 << 20), map[int64]*wait{slow: first, long + pieceSize: second}}
	if err := d.WriteV([][]byte{bytes.Repeat([]byte{7}, 2*pieceSize)}, long); err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: []Export{{Name: "a", Device: d}}})
	c := dial(t, path)
	c.choose("a", false)
	c.request(cmdRead, 0, slow, slow, 128<<10) // so long that others are taken meanwhile
	<-first.reached
	c.request(cmdRead, 0, long, long, 2*pieceSize)
	all := make(chan []byte)
	go func() { all <- c.get(2*simpleReplySize + 128<<10 + 2*pieceSize) }()
	// The second piece is not even read before the slow READ has ended. If it is,
	// the slow one ends between the pieces.
	select {
	case <-second.reached:
		close(first.end)
		time.Sleep(100 * time.Millisecond)
		close(second.end)
	case <-time.After(300 * time.Millisecond):
		close(second.end)
		close(first.end)
	}
	be := binary.BigEndian
	for got := <-all; len(got) > 0; {
		if be.Uint32(got) != magicSimpleReply {
			t.Fatalf("%x where a reply should begin", got[:simpleReplySize])
		}
		body, value := got[simpleReplySize:][:128<<10], byte(0)
		if be.Uint64(got[8:]) == long {
			body, value = got[simpleReplySize:][:2*pieceSize], 7
		}
		if !bytes.Equal(body, bytes.Repeat([]byte{value}, len(body))) {
			t.Fatalf("reply to %d: other contents", be.Uint64(got[8:]))
		}
		got = got[simpleReplySize+len(body):]
	}
}

func TestValidate(t *testing.T) {
	d := newRAM(512)
	for text, list := range map[string][]Export{
		"no export":                    nil,
		"two exports are named":        {{Name: "a", Device: d}, {Name: "a", Device: d}},
		"has no device":                {{Name: "a"}},
		"export name of 5000 bytes":    {{Name: strings.Repeat("x", 5000), Device: d}},
		"description of 5000 bytes":    {{Description: strings.Repeat("x", 5000), Device: d}},
		`metadata context "allocation`: {{Device: d, Contexts: []Context{{Name: "allocation"}}}},
	} {
		if err := (&Server{Exports: list}).Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %q", err, text)
		}
	}
}

// TestHotPathDoesNotAllocate reads and writes without garbage.
func TestHotPathDoesNotAllocate(t *testing.T) {
	d := newRAM(1 << 20)
	path, _ := start(t, &Server{Exports: exports(d)})
	c := dial(t, path)
	c.choose("a", true)
	var out, in []byte
	be := binary.BigEndian
	for i := range uint64(32) {
		out = be.AppendUint32(out, magicRequest)
		out = be.AppendUint32(out, uint32(cmdRead))
		out = be.AppendUint64(out, i)
		out = be.AppendUint64(out, i*4096)
		out = be.AppendUint32(out, 4096)
	}
	in = make([]byte, 32*(chunkHeaderSize+8+4096))
	round := func() {
		if _, err := c.nc.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, in); err != nil {
			t.Fatal(err)
		}
	}
	if raceDetector {
		t.Skip("the race detector makes pools forget")
	}
	if n := testing.AllocsPerRun(200, round); n > 4 { // of 32 requests; pools may lose a buffer to the collector
		t.Errorf("%v allocations in 32 requests", n)
	}
}

// BenchmarkRead reads 4 KiB at the given depth from memory.
func BenchmarkRead(b *testing.B) {
	for name, depth := range map[string]int{"depth1": 1, "depth32": 32} {
		b.Run(name, func(b *testing.B) {
			path, _ := start(b, &Server{Exports: exports(newRAM(1 << 20))})
			c := dial(b, path)
			c.choose("a", true)
			_ = c.nc.SetDeadline(time.Time{})
			one := binary.BigEndian.AppendUint32(nil, magicRequest)
			one = append(one, make([]byte, 20)...)
			one = binary.BigEndian.AppendUint32(one, 4096)
			out := bytes.Repeat(one, depth)
			in := make([]byte, depth*(chunkHeaderSize+8+4096))
			b.SetBytes(4096)
			b.ReportAllocs()
			for done := 0; done < b.N; done += depth {
				if _, err := c.nc.Write(out); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c.nc, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzConnection lets anything arrive: the server neither panics nor hangs.
func FuzzConnection(f *testing.F) {
	be := binary.BigEndian
	option := func(code uint32, data []byte) []byte {
		b := be.AppendUint64(nil, magicOption)
		b = be.AppendUint32(b, code)
		return append(be.AppendUint32(b, uint32(len(data))), data...)
	}
	request := func(cmd command, off uint64, n uint32) []byte {
		b := be.AppendUint32(nil, magicRequest)
		b = be.AppendUint32(b, uint32(cmd))
		b = be.AppendUint64(b, 1)
		return be.AppendUint32(be.AppendUint64(b, off), n)
	}
	hello := []byte{0, 0, 0, 3}
	f.Add(bytes.Join([][]byte{hello, option(optList, nil), option(optAbort, nil)}, nil))
	enter := bytes.Join([][]byte{
		hello, option(optStructuredReply, nil),
		option(optSetMetaContext, append(append(str("a"), 0, 0, 0, 1), str(BaseAllocation)...)),
		option(optGo, append(str("a"), 0, 0)),
	}, nil)
	for cmd := range command(commands) {
		f.Add(append(bytes.Clone(enter), request(cmd, 4096, 64<<10)...))
	}
	f.Add(append(hello, option(optExportName, []byte("a"))...))
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
