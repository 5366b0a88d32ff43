package nbd

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
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
	list := c.option(nbdproto.OptList, nil)
	expect("LIST", list, nbdproto.RepServer, nbdproto.RepServer, nbdproto.RepAck)
	if s := string(list[1].data); s != "\x00\x00\x00\x01bdisk" {
		t.Errorf("second export %q", s)
	}
	expect("LIST with data", c.option(nbdproto.OptList, []byte{1}), nbdproto.RepErrInvalid)
	expect("unknown option", c.option(77, []byte("abc")), nbdproto.RepErrUnsup)
	expect("extended headers", c.option(11, nil), nbdproto.RepErrUnsup)
	expect("STARTTLS without TLS", c.option(nbdproto.OptStartTLS, nil), nbdproto.RepErrPolicy)
	expect("long option", c.option(77, make([]byte, maxOptionData+1)), nbdproto.RepErrTooBig)
	expect("unknown export", c.option(nbdproto.OptInfo, append(str("nope"), 0, 0)), nbdproto.RepErrUnknown)
	expect("the default of two", c.option(nbdproto.OptInfo, append(str(""), 0, 0)), nbdproto.RepErrUnknown)
	expect("short INFO", c.option(nbdproto.OptInfo, []byte{0, 0, 0, 9, 'a'}), nbdproto.RepErrInvalid)
	expect("INFO that lies about its length", c.option(nbdproto.OptInfo, append(str("a"), 0, 9)), nbdproto.RepErrInvalid)
	expect("contexts without structured replies",
		c.option(nbdproto.OptListMetaContext, append(str("a"), 0, 0, 0, 0)), nbdproto.RepErrInvalid)
	expect("STRUCTURED_REPLY", c.option(nbdproto.OptStructuredReply, nil), nbdproto.RepAck)

	info := c.option(nbdproto.OptInfo, append(str("b"), 0, 3, 0, nbdproto.InfoName, 0, nbdproto.InfoDescription, 0, nbdproto.InfoBlockSize))
	expect("INFO", info, nbdproto.RepInfo, nbdproto.RepInfo, nbdproto.RepInfo, nbdproto.RepInfo, nbdproto.RepAck)
	if got := string(info[0].data[2:]) + "," + string(info[1].data[2:]); got != "b,disk" {
		t.Errorf("name and description %q", got)
	}
	if size := binary.BigEndian.Uint64(info[3].data[2:]); size != 2<<20 {
		t.Errorf("size %d", size)
	}
	many := append(append(str("b"), 0x1f, 0xff), bytes.Repeat([]byte{0, nbdproto.InfoName}, 0x1fff)...)
	expect("INFO that asks for the name 8191 times", c.option(nbdproto.OptInfo, many), nbdproto.RepInfo, nbdproto.RepInfo, nbdproto.RepInfo, nbdproto.RepAck)

	query := func(code uint32, queries ...string) []optionReply {
		data := append(str("a"), 0, 0, 0, byte(len(queries)))
		for _, q := range queries {
			data = append(data, str(q)...)
		}
		return c.option(code, data)
	}
	expect("all contexts", query(nbdproto.OptListMetaContext), nbdproto.RepMetaContext, nbdproto.RepMetaContext, nbdproto.RepAck)
	expect("a namespace", query(nbdproto.OptListMetaContext, "qemu:"), nbdproto.RepMetaContext, nbdproto.RepAck)
	expect("a namespace is no selection", query(nbdproto.OptSetMetaContext, "qemu:"), nbdproto.RepAck)
	expect("no context", query(nbdproto.OptListMetaContext, "base:other"), nbdproto.RepAck)
	expect("two, one of them twice", query(nbdproto.OptSetMetaContext, "base:allocation", "base:allocation", "qemu:dirty-bitmap:b0"),
		nbdproto.RepMetaContext, nbdproto.RepMetaContext, nbdproto.RepAck)
	expect("a query that is cut off", c.option(nbdproto.OptSetMetaContext, append(str("a"), 0, 0, 0, 1, 0, 0, 0, 9, 'x')), nbdproto.RepErrInvalid)
	expect("too many queries", c.option(nbdproto.OptSetMetaContext, append(str("a"), 0xff, 0, 0, 1)), nbdproto.RepErrTooBig)

	c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptAbort), uint32(0))
	c.get(20)
	c.closed()
}

// TestExportName is the handshake of old clients.
func TestExportName(t *testing.T) {
	path, _ := start(t, &Server{Exports: exports(newRAM(1 << 20))})
	c := dial(t, path)
	c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptExportName), uint32(0))
	if b := c.get(10); binary.BigEndian.Uint64(b) != 1<<20 {
		t.Errorf("size %x", b)
	}
	c.request(nbdproto.CmdRead, 0, 5, 0, 10)
	if code := c.simple(5); code != 0 || !bytes.Equal(c.get(10), make([]byte, 10)) {
		t.Error(code)
	}
	c.request(nbdproto.CmdDisconnect, 0, 6, 0, 0)
	c.closed()

	c = dial(t, path)
	c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptExportName), uint32(4), "nope")
	c.closed()
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
