package nest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

func TestStreamArrivesWhole(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 20_000) // several frames
	for name, src := range map[string]io.Reader{
		"empty":        strings.NewReader(""),
		"short":        strings.NewReader("hello\n"),
		"long":         strings.NewReader(long),
		"byte by byte": iotest.OneByteReader(strings.NewReader(long[:1000])),
		"data and EOF": iotest.DataErrReader(strings.NewReader(long)),
	} {
		t.Run(name, func(t *testing.T) {
			var sent, got bytes.Buffer
			here, there := net.Pipe()
			failed := make(chan error, 1)
			go func() { failed <- sendStream(here, io.TeeReader(src, &sent)) }()
			if err := receiveStream(&got, there); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), sent.Bytes()) {
				t.Errorf("sent %d bytes, got %d", sent.Len(), got.Len())
			}
		})
	}
}

func TestSendStreamEndsAfterReadError(t *testing.T) {
	broken := errors.New("broken")
	var port bytes.Buffer
	err := sendStream(&port, io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	var got bytes.Buffer
	if err := receiveStream(&got, &port); err != nil || got.String() != "ab" {
		t.Errorf("receiver got %q, %v", &got, err)
	}
}

func TestReceiveStreamRefuses(t *testing.T) {
	frame := func(n uint32, payload string) string {
		return string(binary.LittleEndian.AppendUint32(nil, n)) + payload
	}
	for name, tt := range map[string]struct{ port, want string }{
		"too large":           {frame(maxFrame+1, ""), "at most 65536"},
		"no end":              {frame(1, "a"), "EOF"},
		"cut in the payload":  {frame(3, "a"), "unexpected EOF"},
		"cut in the length":   {"\x01\x00", "unexpected EOF"},
		"lost before a frame": {"", "EOF"},
	} {
		err := receiveStream(io.Discard, strings.NewReader(tt.port))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestReceiveStreamTellsWriteErrors(t *testing.T) {
	var port bytes.Buffer
	if err := sendStream(&port, strings.NewReader("ab")); err != nil {
		t.Fatal(err)
	}
	_, closed := io.Pipe()
	closed.CloseWithError(io.ErrClosedPipe)
	err := receiveStream(closed, &port)
	var w *writeError
	if !errors.As(err, &w) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
