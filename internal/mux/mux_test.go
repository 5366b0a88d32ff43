package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func pair(t testing.TB) (opens, accepts *Session) {
	t.Helper()
	a, b := net.Pipe()
	opens, accepts = New(a, Opens), New(b, Accepts)
	t.Cleanup(func() { opens.Close(); accepts.Close() })
	return opens, accepts
}

// Many connections carry what is theirs, at the same time, and end by themselves.
func TestConnections(t *testing.T) {
	opens, accepts := pair(t)
	go func() {
		for {
			c, err := accepts.Accept()
			if err != nil {
				return
			}
			go func() { // an echo
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			c, err := opens.Open()
			if err != nil {
				t.Error(err)
				return
			}
			sent := bytes.Repeat([]byte{byte(i)}, 100_000+i)
			go func() {
				if _, err := c.Write(sent); err != nil {
					t.Error(err)
				}
			}()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("connection %d: other bytes came back, %v", i, err)
			}
			c.Close()
			if _, err := c.Write([]byte{1}); !errors.Is(err, ErrClosed) {
				t.Errorf("write after the end: %v", err)
			}
		})
	}
	clients.Wait()
	accepts.Close()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := opens.Open(); errors.Is(err, ErrClosed) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the session goes on after its other end was closed")
		}
	}
}

// What was sent before an end arrives before it.
func TestEndComesLast(t *testing.T) {
	opens, accepts := pair(t)
	c, err := opens.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	theirs, err := accepts.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "last words" {
		t.Errorf("%q, %v", got, err)
	}
}

// A connection that nobody reads ends; the others do not wait for it.
func TestSlowReaderIsCutOff(t *testing.T) {
	opens, accepts := pair(t)
	slow, _ := opens.Open()
	good, _ := opens.Open()
	chunk := make([]byte, maxFrame)
	for range 2 * maxWaiting / maxFrame {
		if _, err := slow.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := slow.Read(chunk); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	if _, err := good.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{maxWaiting, 1} {
		c, err := accepts.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = good.CloseWrite()
		if n, err := io.Copy(io.Discard, c); err != nil || n > want || n == 0 {
			t.Errorf("%d bytes were kept, want %d at most; %v", n, want, err)
		}
	}
}

type stream struct {
	io.Reader
	io.Writer
}

func (stream) Close() error { return nil }

func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 2, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		for _, role := range []Role{Opens, Accepts} {
			s := New(stream{bytes.NewReader(input), io.Discard}, role)
			<-s.done
			for total := 0; ; {
				select {
				case c := <-s.accepted:
					got, err := io.ReadAll(c)
					if total += len(got); err != nil || total > len(input) {
						t.Fatalf("%d bytes from %d, %v", total, len(input), err)
					}
					continue
				default:
				}
				break
			}
		}
	})
}
