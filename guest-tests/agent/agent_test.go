package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// connect returns a client whose server runs in this process.
func connect(t *testing.T, power Power) (*Client, *Server) {
	t.Helper()
	host, guest := net.Pipe()
	server := NewServer(guest, power)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	client := NewClient(host)
	t.Cleanup(func() {
		client.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return client, server
}

func TestRunReturnsStatusAndOutput(t *testing.T) {
	client, _ := connect(t, nil)
	tests := []struct {
		name   string
		cmd    Command
		exit   int
		stdout string
		stderr string
	}{
		{"success", Command{Argv: []string{"echo", "hello"}}, 0, "hello\n", ""},
		{"failure", Command{Argv: []string{"sh", "-c", "echo bad >&2; exit 7"}}, 7, "", "bad\n"},
		{"input", Command{Argv: []string{"cat"}, Stdin: []byte("a\x00\xff\n")}, 0, "a\x00\xff\n", ""},
		{"signal", Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, 137, "", ""},
		{"large", Command{Argv: []string{"sh", "-c", "yes | head -c 1000000"}}, 0, strings.Repeat("y\n", 500000), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := client.Run(t.Context(), tt.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if res.Exit != tt.exit || res.TimedOut || string(res.Stdout) != tt.stdout || string(res.Stderr) != tt.stderr {
				t.Errorf("got exit %d, timed out %v, %d bytes of output, errors %q; want exit %d, %d bytes, errors %q",
					res.Exit, res.TimedOut, len(res.Stdout), res.Stderr, tt.exit, len(tt.stdout), tt.stderr)
			}
		})
	}
}

func TestRunOfMissingProgramIsAnError(t *testing.T) {
	client, _ := connect(t, nil)
	if _, err := client.Run(t.Context(), Command{Argv: []string{"/no/such/program"}}); err == nil {
		t.Error("no error")
	}
	if _, err := client.Run(t.Context(), Command{}); err == nil {
		t.Error("no error without a program")
	}
}

func TestTimeoutKillsTheWholeGroup(t *testing.T) {
	client, _ := connect(t, nil)
	res, err := client.Run(t.Context(), Command{
		Argv:    []string{"sh", "-c", "sleep 100 & wait"},
		Timeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !res.TimedOut || res.Exit != 137 {
		t.Errorf("got exit %d, timed out %v; want 137, true", res.Exit, res.TimedOut)
	}
}

func TestRequestsOverlap(t *testing.T) {
	client, _ := connect(t, nil)
	dir := t.TempDir()
	slow := make(chan error, 1)
	go func() {
		// Ends only once the second command has run.
		res, err := client.Run(t.Context(), Command{Argv: []string{
			"sh", "-c", "while [ ! -e " + dir + "/go ]; do sleep 0.01; done"}})
		if err == nil && res.Exit != 0 {
			err = errors.New("failed")
		}
		slow <- err
	}()
	if _, err := client.Run(t.Context(), Command{Argv: []string{"touch", dir + "/go"}}); err != nil {
		t.Fatal(err)
	}
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
}

func TestHelloReportAndPower(t *testing.T) {
	restarts := make(chan bool, 2)
	client, server := connect(t, func(restart bool) { restarts <- restart })
	if err := server.Hello(Hello{Kernel: "6.1.0", CPUs: 2, Uptime: time.Second}); err != nil {
		t.Fatal(err)
	}
	if h, err := client.Hello(t.Context()); err != nil || h != (Hello{"6.1.0", 2, time.Second}) {
		t.Errorf("Hello: %+v, %v", h, err)
	}
	if err := server.Report(Report{OK: true, Sums: map[string]string{"a": "b"}, Read: 1, Written: 2}); err != nil {
		t.Fatal(err)
	}
	if r, err := client.Report(t.Context()); err != nil || !r.OK || r.Sums["a"] != "b" || r.Read != 1 || r.Written != 2 {
		t.Errorf("Report: %+v, %v", r, err)
	}
	if err := client.Reboot(); err != nil || !<-restarts {
		t.Errorf("Reboot: %v, or the guest was powered off", err)
	}
	if err := client.PowerOff(); err != nil || <-restarts {
		t.Errorf("PowerOff: %v, or the guest was restarted", err)
	}
}

func TestClientSeesTheEndOfTheGuest(t *testing.T) {
	host, guest := net.Pipe()
	client := NewClient(host)
	go func() {
		var r request
		readFrame(guest, &r)
		guest.Close()
	}()
	if _, err := client.Run(t.Context(), Command{Argv: []string{"true"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Hello(ctx); err == nil {
		t.Error("Hello of a closed client succeeded")
	}
}

func TestDamageIsNoticed(t *testing.T) {
	var good bytes.Buffer
	text := []byte(strings.Repeat("some output that compresses\n", 50))
	if err := writeFrame(&good, message{Result: &result{ID: 1}}, text, nil); err != nil {
		t.Fatal(err)
	}
	if good.Len() > len(text)/2 {
		t.Errorf("%d bytes on the wire for %d bytes of text", good.Len(), len(text))
	}
	var m message
	attachments, err := readFrame(bytes.NewReader(good.Bytes()), &m)
	if err != nil || len(attachments) != 2 || !bytes.Equal(attachments[0], text) {
		t.Fatalf("undamaged frame: %v", err)
	}

	for i := range good.Len() {
		bad := bytes.Clone(good.Bytes())
		bad[i] ^= 0x20
		if i == 3 {
			bad[i] = 0 // says that the payload is not compressed
		}
		if _, err := readFrame(bytes.NewReader(bad), &message{}); err == nil {
			t.Errorf("byte %d damaged: no error", i)
		}
		if _, err := readFrame(bytes.NewReader(bad[:i]), &message{}); err == nil {
			t.Errorf("cut after %d bytes: no error", i)
		}
	}
	if _, err := readFrame(bytes.NewReader(nil), &m); err != io.EOF {
		t.Errorf("end of stream: %v, want io.EOF", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	var seed bytes.Buffer
	writeFrame(&seed, message{Hello: &Hello{Kernel: "k"}})
	f.Add(seed.Bytes()[frameHeaderSize:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		var m message
		parts, err := splitPayload(payload, &m)
		total := 0
		for _, p := range parts {
			total += len(p)
		}
		if err == nil && total > len(payload) {
			t.Errorf("%d bytes of attachments in %d bytes", total, len(payload))
		}
	})
}

func TestIncompressibleDataGoesAsItIs(t *testing.T) {
	data := make([]byte, 10000)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	var wire bytes.Buffer
	if err := writeFrame(&wire, request{ID: 1}, data); err != nil {
		t.Fatal(err)
	}
	if wire.Len() > len(data)+200 {
		t.Errorf("%d bytes on the wire for %d", wire.Len(), len(data))
	}
}
