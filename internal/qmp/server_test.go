package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/sockettest"
)

type addArgs struct {
	A   int      `json:"a"`
	B   int      `json:"b,omitempty"`
	How *addMode `json:"how,omitempty"`
}

type addMode struct {
	Mode loudness `json:"mode"`
}

type loudness string

func (loudness) QMPValues() []string { return []string{"loud", "soft"} }

type sum struct {
	Sum int `json:"sum"`
}

type rang struct {
	Times int `json:"times"`
}

// newTestServer has commands to add, to wait for a release, and to fail.
func newTestServer(t testing.TB) (s *Server, release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	s = NewServer(Config{
		Commands: []Command{
			NewCommand("add", func(_ context.Context, a addArgs) (sum, error) { return sum{a.A + a.B}, nil }),
			NewCommand("wait", func(ctx context.Context, _ None) (None, error) {
				select {
				case <-release:
					return None{}, nil
				case <-ctx.Done():
					return None{}, ctx.Err()
				}
			}),
			NewCommand("gone", func(context.Context, None) (None, error) {
				return None{}, fmt.Errorf("wrapped: %w", Errorf(DeviceNotFound, "Device 'x' not found"))
			}),
			NewCommand("fast", func(context.Context, None) (sum, error) { return sum{1}, nil }).OOB(),
		},
		Events:    map[string]any{"RANG": rang{}, "FELL": rang{}},
		Throttled: []string{"FELL"},
	})
	s.patience = time.Hour // no test leaves anything unread
	t.Cleanup(s.Close)
	return s, release
}

// testLimit is far more than anything here takes.
const testLimit = 5 * time.Minute

// rawClient speaks the protocol by hand.
type rawClient struct {
	t testing.TB
	net.Conn
	lines *bufio.Scanner
}

func connect(t testing.TB, s *Server) *rawClient {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	s.ServeConn(theirs)
	lines := bufio.NewScanner(ours)
	lines.Buffer(nil, 8<<20)
	return &rawClient{t, ours, lines}
}

func (c *rawClient) send(text string) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(testLimit))
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) receive() string {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(testLimit))
	if !c.lines.Scan() {
		c.t.Fatalf("the server has ended the connection: %v", c.lines.Err())
	}
	return c.lines.Text()
}

func (c *rawClient) want(parts ...string) {
	c.t.Helper()
	line := c.receive()
	for _, p := range parts {
		if !strings.Contains(line, p) {
			c.t.Errorf("the server said %s, want %s in it", line, p)
		}
	}
}

func TestDialogue(t *testing.T) {
	s, _ := newTestServer(t)
	c := connect(t, s)
	c.want(`{"QMP":{"version":{"qemu":{"major":`, `"capabilities":["oob"]`)
	for _, x := range []struct{ send, want string }{
		{`{"execute":"add","arguments":{"a":1}}`, `"CommandNotFound","desc":"Expecting capabilities`},
		{`{"execute":"qmp_capabilities","arguments":{"enable":["none"]}}`, `Parameter 'enable[0]' does not accept value 'none'`},
		{`{"execute":"qmp_capabilities","arguments":{"enable":"oob"}}`, `Invalid parameter type for 'enable', expected: array`},
		{`{"execute":"qmp_capabilities","id":[1,{"x":2}]}`, `{"return":{},"id":[1,{"x":2}]}`},
		{`{"execute":"qmp_capabilities"}`, `"CommandNotFound","desc":"Capabilities negotiation is already complete`},
		{`{"execute":"add","arguments":{"a":1,"b":2},"id":"x"}{"execute":"fast"}`, `{"return":{"sum":3},"id":"x"}`},
		{``, `{"return":{"sum":1}}`},
		{`{"execute":"add","id":7}`, `"GenericError","desc":"Parameter 'a' is missing"},"id":7`},
		{`{"execute":"add","arguments":{"a":"1"}}`, `Invalid parameter type for 'a', expected: integer`},
		{`{"execute":"add","arguments":{"a":1e3}}`, `Invalid parameter type for 'a', expected: integer`},
		{`{"execute":"add","arguments":{"a":null}}`, `Invalid parameter type for 'a', expected: integer`},
		{`{"execute":"add","arguments":{"a":99999999999999999999}}`, `Invalid parameter type for 'a', expected: integer`},
		{`{"execute":"add","arguments":{"a":1,"c":1}}`, `Parameter 'c' is unexpected`},
		{`{"execute":"add","arguments":{"a":1,"A":2}}`, `Parameter 'A' is unexpected`},
		{`{"execute":"add","arguments":{"a":1,"how":{"mode":"loud"}}}`, `{"return":{"sum":1}}`},
		{`{"execute":"add","arguments":{"a":1,"how":{"mode":"none"}}}`, `Parameter 'mode' does not accept value 'none'`},
		{`{"execute":"add","arguments":{"a":1,"how":{"mode":1}}}`, `Invalid parameter type for 'how.mode', expected: string`},
		{`{"execute":"add","arguments":{"a":1,"how":{}}}`, `Parameter 'how.mode' is missing`},
		{`{"execute":"add","arguments":{"a":1,"how":{"mode":"loud","x":1}}}`, `Parameter 'how.x' is unexpected`},
		{`{"execute":"add","arguments":{"a":1,"how":"loud"}}`, `Invalid parameter type for 'how', expected: object`},
		{`{"execute":"add","arguments":[1]}`, `QMP input member 'arguments' must be an object`},
		{`{"execute":"gone"}`, `"DeviceNotFound","desc":"wrapped: Device 'x' not found"`},
		{`{"execute":"nothing"}`, `"CommandNotFound","desc":"The command nothing has not been found"`},
		{`{"execute":""}`, `"CommandNotFound","desc":"The command  has not been found"`},
		{`{"execute":null}`, `QMP input member 'execute' must be a string`},
		{`{"arguments":{},"id":1}`, `"QMP input lacks member 'execute'"},"id":1`},
		{`{"execute":"fast","extra":1}`, `QMP input member 'extra' is unexpected`},
		{`{"exec-oob":"fast"}`, `QMP input member 'exec-oob' is unexpected`},
		{`{"execute":"fast","id":"<\u00e9\ud83d\ude00é>"}`, `"id":"<\u00e9\ud83d\ude00\u00e9>"`},
		{`{"execute":"fast","id":12345678901234567890}`, `"id":12345678901234567890`},
		{`{'execute':'fast','id':'a"\'b'}`, `"id":"a\"'b"`},
		{`{"execute":"fast","id":"after all that"}`, `{"return":{"sum":1},"id":"after all that"}`},
		{`{"execute":"query-commands"}`, `{"name":"add"},{"name":"fast"},{"name":"gone"},{"name":"qmp_capabilities"}`},
	} {
		if x.send != "" {
			c.send(x.send)
		}
		c.want(x.want)
	}
	s.Emit("RANG", rang{3})
	c.want(`{"event":"RANG","data":{"times":3},"timestamp":{"seconds":`)
}

func TestSchema(t *testing.T) {
	s, _ := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send(`{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}`)
	c.receive()
	var r struct{ Return []SchemaInfo }
	if err := json.Unmarshal([]byte(c.receive()), &r); err != nil {
		t.Fatal(err)
	}
	types := map[string]SchemaInfo{}
	for _, x := range r.Return {
		if _, dup := types[x.Name]; dup {
			t.Errorf("%s is described twice", x.Name)
		}
		types[x.Name] = x
	}
	for _, x := range r.Return {
		for _, ref := range append([]string{x.ArgType, x.RetType, x.ElementType}, names(x.Members)...) {
			if _, ok := types[ref]; ref != "" && !ok {
				t.Errorf("%s refers to %q, which is not described", x.Name, ref)
			}
		}
	}
	add := types[types["add"].ArgType]
	if len(add.Members) != 3 || add.Members[0].Type != "int" || add.Members[0].Default != nil || add.Members[1].Default == nil {
		t.Errorf("the arguments of add: %+v", add)
	}
	mode := types[types[add.Members[2].Type].Members[0].Type]
	if mode.MetaType != "enum" || !slices.Equal(mode.Values, []string{"loud", "soft"}) || mode.Members[1].Name != "soft" {
		t.Errorf("the values of mode: %+v", mode)
	}
	if types["RANG"].MetaType != "event" || !types["fast"].AllowOOB || types["add"].AllowOOB {
		t.Errorf("RANG %+v, fast %+v, add %+v", types["RANG"], types["fast"], types["add"])
	}
}

func names(list []SchemaMember) (types []string) {
	for _, m := range list {
		if m.Type != "" { // not a value of an enumeration
			types = append(types, m.Type)
		}
	}
	return types
}

// A request out of band is answered while one before it still waits.
func TestOutOfBand(t *testing.T) {
	s, release := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send(`{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}`)
	c.want(`"return":{}`)
	c.send(`{"execute":"wait","id":1}{"exec-oob":"wait","id":2}{"exec-oob":"fast","id":3}`)
	c.want(`The command wait does not support OOB`, `"id":2`)
	c.want(`"sum":1`, `"id":3`)
	close(release)
	c.want(`"return":{}`, `"id":1`)
}

// What is wrong with a request is said when its turn comes: only an id tells answers
// apart, and what is broken has none.
func TestErrorsKeepTheOrder(t *testing.T) {
	s, release := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send(`{"execute":"qmp_capabilities"}`)
	c.receive()
	c.send(`{"execute":"wait","id":1}}{"execute":"fast","x":1,"id":2}{"execute":"fast","id":3}`)
	close(release)
	c.want(`"return":{}`, `"id":1`)
	c.want("expecting value")
	c.want("'x' is unexpected", `"id":2`)
	c.want(`"sum":1`, `"id":3`)
}

// A byte that no JSON has is answered at once, not when something follows it.
func TestBrokenTextIsAnsweredAtOnce(t *testing.T) {
	s, _ := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send("{\"execute\":\"x\xff")
	c.want("stray")
	c.send("rest\n{\"execute\":\"qmp_capabilities\"}")
	c.want(`"return":{}`)
}

// A client that sends without end, or without reading, costs a bounded amount of
// memory and disturbs nobody.
func TestHostileClients(t *testing.T) {
	s, _ := newTestServer(t)
	good := connect(t, s)
	good.receive()
	good.send(`{"execute":"qmp_capabilities"}`)
	good.receive()

	endless := connect(t, s)
	endless.receive()
	go func() {
		for text := `{"x":"`; ; text = strings.Repeat("x", 4096) {
			if _, err := endless.Write([]byte(text)); err != nil {
				return
			}
		}
	}()
	endless.want("JSON token size limit exceeded")
	if endless.lines.Scan() {
		t.Errorf("the server goes on: %s", endless.lines.Text())
	}

	deaf := connect(t, s)
	deaf.receive()
	deaf.send(`{"execute":"qmp_capabilities"}`)
	deaf.receive()
	big := strings.Repeat("x", 60<<10)
	for range 100 {
		s.Emit("RANG", big)
		good.want(`"RANG"`)
	}
	for deaf.lines.Scan() { // what was on its way; then it is cut off
	}
	good.send(`{"execute":"fast"}`)
	good.want(`"sum":1`)

	for deadline := time.Now().Add(testLimit); s.served() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d clients are served, want the good one", s.served())
		}
	}
	var many []*rawClient
	for range MaxClients - 1 {
		many = append(many, connect(t, s))
	}
	for _, c := range many {
		c.receive()
	}
	one := connect(t, s)
	if one.lines.Scan() {
		t.Errorf("one client too many is greeted: %s", one.lines.Text())
	}
	good.send(`{"execute":"fast"}`)
	good.want(`"sum":1`)
}

// served is how many clients have not left yet.
func (s *Server) served() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

func TestClosingEndsWaitingCommands(t *testing.T) {
	s, _ := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send(`{"execute":"qmp_capabilities"}{"execute":"wait"}{"execute":"fast"}`)
	c.receive()
	done := make(chan struct{})
	go func() {
		for c.lines.Scan() {
		}
		close(done)
	}()
	s.Close()
	<-done
}

func TestClient(t *testing.T) {
	s, release := newTestServer(t)
	path := sockettest.Path(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var calls sync.WaitGroup
	for i := range 20 {
		calls.Go(func() {
			var r sum
			if err := c.Do(t.Context(), "add", addArgs{A: i, B: 1000}, &r); err != nil || r.Sum != i+1000 {
				t.Errorf("%d: %v, %v", i, r, err)
			}
		})
	}
	calls.Wait()
	var e *Error
	if err := c.Do(t.Context(), "gone", nil, nil); !errors.As(err, &e) || e.Class != DeviceNotFound {
		t.Errorf("error %#v", err)
	}
	s.Emit("RANG", rang{2})
	if e := <-c.Events(); e.Name != "RANG" || string(e.Data) != `{"times":2}` || time.Since(e.Time) > time.Hour {
		t.Errorf("event %+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Do(ctx, "wait", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command that takes too long: %v", err)
	}
	close(release)
	s.Close()
	if _, ok := <-c.Events(); ok {
		t.Error("events go on after the end")
	}
	if err := c.Do(t.Context(), "fast", nil, nil); err == nil {
		t.Error("a command was carried out after the end")
	}
	if _, err := Dial(t.Context(), path); err == nil {
		t.Error("connected to nobody")
	}
}

// A guest that causes events without end costs its clients one a period, the last; not
// their connection.
func TestThrottledEvents(t *testing.T) {
	s, _ := newTestServer(t)
	c := connect(t, s)
	c.receive()
	c.send(`{"execute":"qmp_capabilities"}`)
	c.receive()
	s.period = time.Hour
	for range 20_000 { // more than may wait for a client
		s.Emit("FELL", rang{1})
	}
	s.Emit("RANG", rang{3})
	c.want(`"FELL","data":{"times":1}`)
	c.want(`"RANG"`)
	s.period = time.Millisecond
	s.Emit("FELL", rang{2}) // is another one
	s.Emit("FELL", rang{2})
	c.want(`"FELL","data":{"times":2}`)
	c.want(`"FELL","data":{"times":2}`) // when the period is over
	go s.Close()
	c.want(`"FELL","data":{"times":1}`) // what was kept is not lost
}
