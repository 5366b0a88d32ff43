package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/sockettest"
)

// peer is a server of QMP that is spoken to by hand.
type peer struct {
	t      *testing.T
	conn   net.Conn
	lines  *bufio.Reader
	schema map[string]any // by name
	events []string       // names and data of those that came, but for MEGASAS_EVENT
	image  string         // what $IMAGE stands for in requests
}

// call sends a request and returns the answer.
func (p *peer) call(request string) map[string]any {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, strings.ReplaceAll(request, "$IMAGE", p.image)+"\n"); err != nil {
		p.t.Fatal(err)
	}
	return p.answer("")
}

// answer returns the next answer, or the next event of a name.
func (p *peer) answer(event string) map[string]any {
	p.t.Helper()
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(testLimit))
		line, err := p.lines.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		name, isEvent := v["event"].(string)
		if !isEvent {
			return v
		}
		if p.schema != nil {
			p.check(p.schema, name, "arg-type", v["data"])
		}
		if name != "MEGASAS_EVENT" {
			data, _ := json.Marshal(v["data"])
			p.events = append(p.events, name+string(data))
		}
		if name == event {
			return v
		}
	}
}

// await waits for an event, which may have come before the answer to what caused it.
func (p *peer) await(event string) {
	p.t.Helper()
	if !slices.ContainsFunc(p.events, func(e string) bool { return strings.HasPrefix(e, event+"{") }) {
		p.answer(event)
	}
}

// dialPeer connects, negotiates and asks for the schema.
func dialPeer(t *testing.T, path string) *peer {
	t.Helper()
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(testLimit); ; time.Sleep(10 * time.Millisecond) {
		if conn, err = net.Dial("unix", path); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, lines: bufio.NewReader(conn)}
	p.answer("") // the greeting
	p.call(`{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}`)
	types, ok := p.call(`{"execute":"query-qmp-schema"}`)["return"].([]any)
	if !ok {
		t.Fatal("no schema")
	}
	p.schema = map[string]any{}
	for _, x := range types {
		p.schema[x.(map[string]any)["name"].(string)] = x
	}
	return p
}

// check holds a value against what a schema has of a command or an event.
func (p *peer) check(schema map[string]any, name, part string, value any) {
	p.t.Helper()
	entity, ok := schema[name].(map[string]any)
	if !ok {
		p.t.Errorf("%s is not in the schema", name)
		return
	}
	if value == nil {
		value = map[string]any{} // of an event without data
	}
	for _, problem := range mismatches(schema, name, entity[part].(string), value) {
		p.t.Errorf("against the schema: %s", problem)
	}
}

// mismatches says how a value differs from a type of a schema.
func mismatches(schema map[string]any, path, name string, value any) (list []string) {
	entity, ok := schema[name].(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: type %s is not described", path, name)}
	}
	wrong := func(format string, args ...any) { list = append(list, path+": "+fmt.Sprintf(format, args...)) }
	text := func(key string) string { s, _ := entity[key].(string); return s }
	items := func(of map[string]any, key string) []any { l, _ := of[key].([]any); return l }
	switch text("meta-type") {
	case "builtin":
		kinds := map[string]string{"string": "string", "boolean": "bool", "int": "float64", "number": "float64"}
		if kind := kinds[text("json-type")]; kind != "" && fmt.Sprintf("%T", value) != kind {
			wrong("%v is no %s", value, text("json-type"))
		}
	case "enum":
		if !slices.Contains(items(entity, "values"), value) {
			wrong("%v is none of %v", value, entity["values"])
		}
	case "array":
		array, ok := value.([]any)
		if !ok {
			wrong("%v is no array", value)
		}
		for i, v := range array {
			list = append(list, mismatches(schema, fmt.Sprintf("%s[%d]", path, i), text("element-type"), v)...)
		}
	case "alternate":
		for _, m := range items(entity, "members") {
			if len(mismatches(schema, path, m.(map[string]any)["type"].(string), value)) == 0 {
				return nil
			}
		}
		wrong("%v fits none of the alternatives", value)
	case "object":
		object, ok := value.(map[string]any)
		if !ok {
			wrong("%v is no object", value)
			return list
		}
		known := map[string]bool{}
		for of := entity; of != nil; {
			next := map[string]any(nil)
			for _, m := range items(of, "members") {
				m := m.(map[string]any)
				key := m["name"].(string)
				known[key] = true
				v, there := object[key]
				_, optional := m["default"]
				switch {
				case there:
					list = append(list, mismatches(schema, path+"."+key, m["type"].(string), v)...)
				case !optional:
					wrong("%s is missing", key)
				}
			}
			for _, m := range items(of, "variants") {
				if m := m.(map[string]any); m["case"] == object[of["tag"].(string)] {
					next, _ = schema[m["type"].(string)].(map[string]any)
				}
			}
			of = next
		}
		for key := range object {
			if !known[key] && !strings.HasPrefix(key, "x-") {
				wrong("%s is not in the schema", key)
			}
		}
	}
	return list
}

// besideQEMU is a machine, and QEMU's with the same disk, both paused and with another
// image beside, whose path $IMAGE stands for.
func besideQEMU(t *testing.T) (govmm, qemu *peer, end func()) {
	t.Helper()
	const program = "qemu-system-x86_64"
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: guest-tests/setup.sh run does that", program)
	}
	m := startMachine(t, halting(), "--disk", "format=null,size=1M,id=nothing", "--on-reboot", "restart")
	image := m.image("ours.qcow2")
	theirDisk, theirImage := m.image("theirs-a.qcow2"), m.image("theirs.qcow2")
	socket := sockettest.Path(t)
	cmd := exec.Command(program, "-accel", "tcg", "-m", "16M", "-display", "none", "-nodefaults", "-S", "-name", "test", "-no-shutdown",
		"-qmp", "unix:"+socket+",server=on,wait=off", "-serial", "null",
		"-device", "megasas-gen2,id=megasas",
		"-blockdev", "driver=qcow2,node-name=disk1,file.driver=file,file.filename="+theirDisk, "-device", "scsi-hd,id=disk1,drive=disk1,bus=megasas.0",
		"-blockdev", "driver=null-co,node-name=nothing,size=1048576", "-device", "scsi-hd,id=nothing,drive=nothing,bus=megasas.0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	govmm, qemu = dialPeer(t, m.socket), dialPeer(t, socket)
	govmm.image, qemu.image = image, theirImage
	govmm.call(`{"execute":"stop"}`)
	govmm.events = nil
	return govmm, qemu, func() {
		govmm.call(`{"execute":"quit"}`)
		m.wantEnd(0)
	}
}

// QEMU 7.2 and this answer the same to the same requests, and what this answers is as
// its own schema and QEMU's say.
func TestControlBesideQEMU(t *testing.T) {
	govmm, qemu, end := besideQEMU(t)
	defer end()
	call := func(command, arguments string) string {
		if arguments == "" {
			return fmt.Sprintf(`{"execute":%q,"id":1}`, command)
		}
		return fmt.Sprintf(`{"execute":%q,"arguments":{%s},"id":1}`, command, arguments)
	}
	const file = `"file":{"driver":"file","filename":"$IMAGE"}`
	for _, request := range []string{
		// Requests that are none.
		`[]`, `"x"`, `null`, `{}`, `{"id":1}`, `{foo}`, `{"execute":"query-name",}`, `{"execute":"query-name" "id":1}`,
		`{"execute":1,"id":[1,{"a":null}]}`, `{"execute":"","id":1}`, `{"execute":"query-name","execute":"query-name"}`,
		`{"execute":"query-name","exec-oob":"query-name","id":1}`, `{"exec-oob":"query-name","id":1}`, `{"exec-oob":"none","id":1}`,
		`{'execute':'query-name','id':'a"b'}`, `{"execute":"query-name","id":"\ud83d\ude00é</"}`,
		`{"execute":"query-name","x":1,"id":1}`, `{"execute":"query-name","arguments":[],"id":1}`, call("query-name", `"x":1`),
		call("none", ""), call("qmp_capabilities", ""), call("qmp_capabilities", `"enable":["oob"]`),
		// The machine.
		call("query-uuid", ""), call("query-name", ""), call("query-target", ""), call("query-memory-size-summary", ""),
		call("query-events", ""), call("query-jobs", ""), call("query-block-jobs", ""), call("query-block-exports", ""), call("query-pr-managers", ""), call("query-iothreads", ""),
		call("query-memory-devices", ""), call("query-acpi-ospm-status", ""), call("query-vnc", ""), call("query-vnc-servers", ""), call("query-tpm", ""), call("query-balloon", ""),
		call("query-migrate", ""), call("query-vm-generation-id", ""), call("query-jobs", `"x":1`),
		call("query-stats", ""), call("query-stats", `"target":"x"`), call("query-stats", `"target":"vm","vcpus":[]`), call("query-stats", `"target":"vm","providers":[]`),
		call("query-stats", `"target":"vcpu","vcpus":["none"]`), call("query-stats", `"target":"vcpu","providers":[{"provider":"kvm","names":["none"]}]`),
		call("query-stats", `"target":"vm","providers":[{"provider":"x"}]`), call("query-stats-schemas", `"provider":"x"`),
		call("cont", ""), call("query-status", ""), call("cont", ""), call("stop", ""), call("stop", ""), call("query-status", ""), call("system_powerdown", ""),
		call("system_reset", ""), "await RESET", // it is carried out after the answer
		// Media and drives.
		call("query-blockstats", `"query-nodes":1`), call("query-named-block-nodes", `"flat":"x"`),
		call("block_resize", ""), call("block_resize", `"size":512`), call("block_resize", `"device":"none","size":512`), call("block_resize", `"node-name":"none","size":512`),
		call("block_resize", `"node-name":"disk1","size":"x"`), call("block_resize", `"node-name":"disk1","size":1e3`), call("block_resize", `"node-name":null,"size":512`),
		call("block_resize", `"node-name":"disk1","size":-1`), call("block_resize", `"node-name":"disk1","size":1000`), call("block_resize", `"node-name":"disk1","size":134217728`),
		call("block_resize", `"node-name":"disk1","size":99999999999999999999`), call("block_resize", `"node-name":"disk1","size":512,"SIZE":1`),
		call("blockdev-snapshot-internal-sync", `"device":"disk1","name":"s"`), call("blockdev-snapshot-internal-sync", `"device":"disk1","name":"s"`),
		call("blockdev-snapshot-internal-sync", `"device":"disk1","name":""`), call("blockdev-snapshot-internal-sync", `"device":"none","name":"s"`),
		call("blockdev-snapshot-internal-sync", `"device":"nothing","name":"s"`), call("blockdev-snapshot-internal-sync", `"name":"s"`),
		call("blockdev-snapshot-delete-internal-sync", `"device":"disk1"`), call("blockdev-snapshot-delete-internal-sync", `"device":"disk1","name":"none"`),
		call("blockdev-snapshot-delete-internal-sync", `"device":"disk1","id":"7"`), call("blockdev-snapshot-delete-internal-sync", `"device":"none","id":"7"`),
		call("blockdev-add", `"driver":"none","node-name":"n"`), call("blockdev-add", `"node-name":"n"`), call("blockdev-add", `"driver":"qcow2","node-name":"1 2",`+file),
		call("blockdev-add", `"driver":"qcow2","node-name":"n"`), call("blockdev-add", `"driver":"qcow2","node-name":"n","file":{"driver":"file"}`),
		call("blockdev-add", `"driver":"qcow2","node-name":"n","file":{"filename":"$IMAGE"}`), call("blockdev-add", `"driver":"qcow2","node-name":"n","x":1,`+file),
		call("blockdev-add", `"driver":"qcow2","node-name":"n","file":{"driver":"file","filename":"$IMAGE","x":1}`),
		call("blockdev-add", `"driver":"file","node-name":"n"`), call("blockdev-add", `"driver":"qcow2","node-name":"n","read-only":1,`+file),
		call("blockdev-add", `"driver":"null-co","node-name":"n","cache":{"direct":1}`), call("blockdev-add", `"driver":"null-co","node-name":"n","filename":"x"`),
		call("blockdev-add", `"driver":"qcow2","node-name":"n",`+file), call("blockdev-add", `"driver":"qcow2","node-name":"n",`+file),
		call("device_add", ""), call("device_add", `"driver":"scsi-hd","id":"d","drive":"none"`), call("device_add", `"driver":"scsi-hd","id":"1 2","drive":"n"`),
		call("device_add", `"driver":"scsi-hd","id":"d","drive":"n","serial":"S","bus":"megasas.0"`),
		call("blockdev-del", `"node-name":"n"`), call("blockdev-del", `"node-name":"none"`), call("device_del", `"id":"none"`), call("device_del", `"id":1`), call("device_del", ""),
		call("device_del", `"id":"d"`), "await DEVICE_DELETED", call("blockdev-del", `"node-name":"n"`),
	} {
		if event, ok := strings.CutPrefix(request, "await "); ok {
			govmm.await(event)
			qemu.await(event)
			continue
		}
		got, want := govmm.call(request), qemu.call(request)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n %v, but QEMU\n %v", request, got, want)
		}
	}
	// What there is to know differs; how it is told does not.
	for _, command := range []string{
		"query-version", "query-status", "query-name", "query-uuid", "query-kvm", "query-target", "query-cpus-fast", "query-memory-size-summary",
		"query-chardev", "query-commands", "query-qmp-schema", "query-block", "query-named-block-nodes", "query-pci",
		"query-blockstats", "query-machines", "query-current-machine", "query-memdev", "query-chardev-backends", "query-mice", "query-tpm-models", "query-tpm-types",
	} {
		answer := govmm.call(call(command, ""))
		if answer["return"] == nil {
			t.Errorf("%s: %v", command, answer["error"])
			continue
		}
		govmm.check(govmm.schema, command, "ret-type", answer["return"])
		govmm.check(qemu.schema, command, "ret-type", answer["return"])
	}
	for name, x := range govmm.schema {
		if x := x.(map[string]any); x["meta-type"] == "command" && qemu.schema[name] == nil && !strings.HasPrefix(name, "x-") {
			t.Errorf("%s is no command of QEMU's", name)
		}
	}
	if !reflect.DeepEqual(govmm.events, qemu.events) {
		t.Errorf("events %q, but QEMU's are\n %q", govmm.events, qemu.events)
	}
}
