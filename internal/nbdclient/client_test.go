package nbdclient_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbd"
	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/internal/sockettest"
)

// serve has a server export a raw disk of size bytes until stop is called.
func serve(t *testing.T, socket, disk string) (stop func()) {
	t.Helper()
	d, err := block.Open(block.Spec{Path: disk, Format: block.FormatRaw})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	status := func(off, n int64) (uint32, int64, error) {
		e, err := d.(block.Mapper).Status(off, n)
		if e.Zero {
			return nbd.StatusHole | nbd.StatusZero, e.Length, err
		}
		return 0, e.Length, err
	}
	s := nbd.Server{Exports: []nbd.Export{{Name: "disk", Device: d, Contexts: []nbd.Context{{Name: nbd.BaseAllocation, Status: status}}}}}
	go func() { done <- s.Serve(ctx, l) }()
	return sync.OnceFunc(func() {
		cancel()
		<-done
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// sparse makes a file of size bytes.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestRequests writes and reads an export as the file that it is, from several goroutines.
func TestRequests(t *testing.T) {
	const size = 4 << 20
	socket := sockettest.Path(t)
	defer serve(t, socket, sparse(t, size))()
	c := nbdclient.New(nbdclient.Target{Network: "unix", Address: socket, Export: "disk"})
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, _ := c.Size(); n != size || c.ReadOnly() {
		t.Fatalf("%d bytes, read-only %v", n, c.ReadOnly())
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			data := bytes.Repeat([]byte{byte(i + 1)}, 100<<10)
			off := int64(i) * 200 << 10
			got := make([]byte, len(data))
			err := errors.Join(c.WriteV([][]byte{data[:7], data[7:]}, off), c.ReadV([][]byte{got[:1], got[1:]}, off))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("at %d: %v, or other data", off, err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(c.ZeroRange(100, 1000), c.PunchHole(200<<10, 64<<10), c.Trim(400<<10, 64<<10), c.Sync()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1200)
	if err := c.ReadV([][]byte{got}, 0); err != nil || bytes.Count(got, []byte{0}) != 1000 || got[99] != 1 || got[1100] != 1 {
		t.Errorf("zeroes in data: %v", err)
	}
	if data, zero, n, err := c.Status(3<<20, size-3<<20); err != nil || data || !zero || n == 0 {
		t.Errorf("what nobody wrote: data %v, zero %v, %d bytes, %v", data, zero, n, err)
	}
	if data, _, _, err := c.Status(0, 50); err != nil || !data {
		t.Errorf("what was written: data %v, %v", data, err)
	}
	end := []byte{1, 1, 1, 1}
	if err := c.ReadV([][]byte{end}, size-2); err != nil || end[3] != 0 {
		t.Errorf("across the end: %v, %v", end, err)
	}
	if err := c.WriteV([][]byte{end}, size-2); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write across the end: %v", err)
	}
	if c.Truncate(size/2) != nil || !errors.Is(c.Truncate(size+1), errors.ErrUnsupported) {
		t.Error("an export has the size that it has")
	}
}

// TestRefused asks for an export that there is not, and for a server that there is not.
func TestRefused(t *testing.T) {
	socket := sockettest.Path(t)
	stop := serve(t, socket, sparse(t, 1<<20))
	err := nbdclient.New(nbdclient.Target{Network: "unix", Address: socket, Export: "none"}).Connect()
	if err == nil || !strings.HasPrefix(err.Error(), "Requested export not available") {
		t.Error(err)
	}
	stop()
	err = nbdclient.New(nbdclient.Target{Network: "unix", Address: socket + "x"}).Connect()
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "No such file or directory") {
		t.Error(err)
	}
}

// TestReconnect loses the server under a client that waits for another, and under one that
// does not.
func TestReconnect(t *testing.T) {
	disk := sparse(t, 1<<20)
	socket := sockettest.Path(t)
	stop := serve(t, socket, disk)
	target := nbdclient.Target{Network: "unix", Address: socket, Export: "disk"}
	hasty := nbdclient.New(target)
	target.ReconnectDelay = time.Minute
	patient := nbdclient.New(target)
	for _, c := range []*nbdclient.Client{hasty, patient} {
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	stop()
	if err := hasty.WriteV([][]byte{{1}}, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("the server is gone: %v", err)
	}
	done := make(chan error)
	go func() { done <- patient.WriteV([][]byte{{7}}, 0) }()
	_ = os.Remove(socket)
	defer serve(t, socket, disk)()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1)
	if err := patient.ReadV([][]byte{got}, 0); err != nil || got[0] != 7 {
		t.Errorf("after the new connection: %v, %v", got, err)
	}
}

// hostile is a server that sends what it is told to, whatever it is asked.
func hostile(t testing.TB, stream []byte) (target nbdclient.Target) {
	t.Helper()
	socket := sockettest.Path(t)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		go func() { // takes what comes, so that the client is not held up
			buf := make([]byte, 64<<10)
			for {
				if _, err := nc.Read(buf); err != nil {
					return
				}
			}
		}()
		_, _ = nc.Write(stream)
	}()
	return nbdclient.Target{Network: "unix", Address: socket}
}

// try uses a server in every way: each call has to end.
func try(target nbdclient.Target) {
	c := nbdclient.New(target)
	defer c.Close()
	if c.Connect() != nil {
		return
	}
	_ = c.ReadV([][]byte{make([]byte, 512), make([]byte, 3)}, 0)
	_, _, _, _ = c.Status(0, 4096)
	_ = c.WriteV([][]byte{make([]byte, 512)}, 0)
	_ = c.Sync()
}

// newstyle is the server's side of a handshake with structured replies and a context.
func newstyle() []byte {
	b := []byte("NBDMAGICIHAVEOPT\x00\x01")
	reply := func(option, kind byte, data string) {
		b = append(b, 0, 3, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9, 0, 0, 0, option, 0, 0, 0, kind, 0, 0, 0, byte(len(data)))
		b = append(b, data...)
	}
	reply(8, 1, "")
	reply(10, 4, "\x00\x00\x00\x01base:allocation")
	reply(10, 1, "")
	reply(7, 3, "\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x01\x6d")
	reply(7, 1, "")
	return b
}

// TestHostileServer is answered with what is not an answer: no call may hang, panic, or
// write past the caller's memory.
func TestHostileServer(t *testing.T) {
	chunk := func(flags, kind byte, cookie byte, data string) string {
		return "\x66\x8e\x33\xef\x00" + string(flags) + "\x00" + string(kind) + strings.Repeat("\x00", 7) + string(cookie) + "\x00\x00\x00" + string(byte(len(data))) + data
	}
	for name, after := range map[string]string{
		"nothing": "", "no magic": strings.Repeat("x", 64),
		"a cookie of nobody":       chunk(1, 0, 9, ""),
		"data beyond the request":  chunk(1, 1, 1, "\x00\x00\x00\x00\x00\x00\x02\x03data"),
		"data before the request":  chunk(1, 1, 1, "\xff\xff\xff\xff\xff\xff\xff\xffdata"),
		"too little data":          chunk(1, 1, 1, "\x00\x00\x00\x00\x00\x00\x00\x00data"),
		"the same data for ever":   strings.Repeat(chunk(0, 1, 1, "\x00\x00\x00\x00\x00\x00\x00\x00data"), 1000),
		"a hole of 4 GiB":          chunk(1, 2, 1, "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"),
		"status for a read":        chunk(1, 5, 1, "\x00\x00\x00\x01\x00\x00\x10\x00\x00\x00\x00\x00"),
		"an error without a value": chunk(1, 0, 1, "") + "\x66\x8e\x33\xef\x00\x01\x80\x01",
		"a simple reply":           "\x67\x44\x66\x98\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) { try(hostile(t, append(newstyle(), after...))) })
	}
	for n := range newstyle() {
		try(hostile(t, newstyle()[:n]))
	}
	for range 200 {
		b := newstyle()
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		try(hostile(t, b))
	}
}

// FuzzServer has a client talk to a server that sends any bytes.
func FuzzServer(f *testing.F) {
	f.Add(newstyle())
	f.Add([]byte("NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\x00\x00\x00\x00\x00\x10\x00\x00" + strings.Repeat("\x00", 128)))
	f.Fuzz(func(t *testing.T, b []byte) { try(hostile(t, b)) })
}

// TestParse reads names of exports.
func TestParse(t *testing.T) {
	for name, want := range map[string]nbdclient.Target{
		"nbd://host":                        {Network: "tcp", Address: "host:10809"},
		"nbd://host:1/a/b":                  {Network: "tcp", Address: "host:1", Export: "a/b"},
		"nbd+tcp://[::1]:2/":                {Network: "tcp", Address: "[::1]:2"},
		"nbd+unix:///e?socket=/s":           {Network: "unix", Address: "/s", Export: "e"},
		"nbd+unix://?socket=/s":             {Network: "unix", Address: "/s"},
		"nbd:unix:/s:exportname=e":          {Network: "unix", Address: "/s", Export: "e"},
		"nbd:host:3":                        {Network: "tcp", Address: "host:3"},
		"nbd:host:3:exportname=a:exportb/c": {Network: "tcp", Address: "host:3", Export: "a:exportb/c"},
	} {
		if got, err := nbdclient.Parse(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"nbd://", "nbd://host?x=1", "nbd+unix:///e", "nbd+unix://host/e?socket=s", "nbd+unix:///e?socket=s&a=b", "nbd:host", "nbdx://host", "x"} {
		if got, err := nbdclient.Parse(name); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestServerThatGoesInHandshake ends the connection at each byte of the handshake: that is
// told in QEMU's words, which begin alike whatever the system said.
func TestServerThatGoesInHandshake(t *testing.T) {
	socket := sockettest.Path(t)
	defer serve(t, socket, sparse(t, 1<<20))()
	l, err := net.Listen("unix", sockettest.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := nbdclient.New(nbdclient.Target{Network: "unix", Address: l.Addr().String(), Export: "disk"})
	for n := int64(0); ; n++ {
		done := make(chan bool)
		go func() {
			defer close(done)
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("unix", socket)
			if err == nil {
				go func() { _, _ = io.Copy(back, front) }()
				_, _ = io.CopyN(front, back, n)
				_ = back.Close()
			}
			_ = front.Close()
		}()
		err := c.Connect()
		<-done
		if err == nil {
			_ = c.Close()
			break // all of the handshake has come through
		}
		if !strings.HasPrefix(err.Error(), "Failed to ") {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// TestAddressesAsTheCLibraryReadsThem tells of hosts and ports that are none in QEMU's words.
func TestAddressesAsTheCLibraryReadsThem(t *testing.T) {
	for name, want := range map[string]string{
		"nbd:":                        "NBD server address missing",
		"nbd:host:1:exportname=":      "NBD server address missing",
		"nbd:host":                    "error parsing address 'host'",
		"nbd:host:":                   "error parsing address 'host:'",
		"nbd:[::1":                    "error parsing IPv6 address '[::1'",
		"nbd::":                       "error parsing port in address ':'",
		"nbd::1":                      "address resolution failed for :1: Name or service not known",
		"nbd:127.0.0.1:none":          "address resolution failed for 127.0.0.1:none: Servname not supported for ai_socktype",
		"nbd:127.0.0.1:1:foo=x":       "address resolution failed for 127.0.0.1:1:foo=x: Servname not supported for ai_socktype",
		"nbd:127.0.0.1:65537":         "Failed to connect to '127.0.0.1:65537': Connection refused", // port 1
		"nbd:[127.0.0.1]:1":           "Failed to connect to '127.0.0.1:1': Connection refused",
		"nbd:unix:":                   "Failed to connect to '': Connection refused",
		"nbd:unix:/nowhere/at/all/e":  "Failed to connect to '/nowhere/at/all/e': No such file or directory",
		"nbd:127.0.0.1:1,ipv4=on":     "Failed to connect to '127.0.0.1:1': Connection refused",
		"nbd:127.0.0.1:1:exportname=": "NBD server address missing",
	} {
		target, err := nbdclient.Parse(name)
		if err == nil {
			err = nbdclient.New(target).Connect()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
