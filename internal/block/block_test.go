package block

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/scsi"
)

// A device can stand under a SCSI logical unit.
var _ scsi.Medium = Device(nil)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		in   string
		want Spec
		rest string
	}{
		{"path=d.qcow2", Spec{Path: "d.qcow2"}, "map[]"},
		{"d.qcow2", Spec{Path: "d.qcow2"}, "map[]"},
		{"d.img,format=raw,readonly=on", Spec{Path: "d.img", Format: "raw", ReadOnly: true}, "map[]"},
		{"path=a,,b,,,readonly=on", Spec{Path: "a,b,", ReadOnly: true}, "map[]"},
		{"path=a,,b,serial=S1,wwn=0x5000,,1", Spec{Path: "a,b"}, "map[serial:S1 wwn:0x5000,1]"},
		{"path=a=b", Spec{Path: "a=b"}, "map[]"},
		{"format=null,size=3G", Spec{Format: "null", Size: 3 << 30}, "map[]"},
		{"path=d,data-file=e", Spec{Path: "d", DataFile: "e"}, "map[]"},
		{"path=d,data-file=off", Spec{Path: "d", NoDataFile: true}, "map[]"},
		{"path=d,backing=off,l2-cache-size=512k", Spec{Path: "d", NoBacking: true, L2CacheSize: 512 << 10}, "map[]"},
	}
	for _, tt := range tests {
		spec, rest, err := ParseSpec(tt.in)
		if err != nil || spec != tt.want || fmt.Sprint(rest) != tt.rest {
			t.Errorf("%s: %+v, %v, %v; want %+v, %s", tt.in, spec, rest, err, tt.want, tt.rest)
		}
	}
}

func TestParseSpecErrors(t *testing.T) {
	for in, text := range map[string]string{
		"":                             "without a path",
		"readonly=on":                  "without a path",
		"path=":                        "without a path",
		"path=d,readonly=yes":          "readonly=yes (on and off are allowed)",
		"path=d,oops":                  `"oops" is not key=value`,
		"path=d,=x":                    `"=x" is not key=value`,
		"path=d,":                      `"" is not key=value`,
		"path=d,path=e":                "path is given twice",
		"path=d,serial=1,serial=2":     "serial is given twice",
		"path=d,format=vmdk":           `unknown format "vmdk" (qcow2, raw, luks and null are allowed)`,
		"path=d,size=1G":               "only format=null has a size",
		"format=null":                  "size=0 (a positive multiple of 512 is allowed)",
		"format=null,size=1000":        "size=1000",
		"format=null,size=9E":          "size=9E",
		"format=null,size=-1":          "size=-1",
		"format=null,size=1Q":          "size=1Q",
		"format=null,size=M":           "size=M",
		"format=null,size=1kM":         "size=1kM",
		"format=null,path=d,size=512":  "a null device has no path",
		"path=d,l2-cache-size=plenty":  "l2-cache-size=plenty",
		"path=d,format=raw,backing=no": "backing=no",
	} {
		_, _, err := ParseSpec(in)
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want one line with %q", in, err, text)
		}
	}
}

// dir is a directory in which tests make disks.
type dir struct {
	t    *testing.T
	path string
}

func newDir(t *testing.T) dir { return dir{t, t.TempDir()} }

func (d dir) join(name string) string { return filepath.Join(d.path, name) }

// raw makes a raw disk filled with b.
func (d dir) raw(name string, b byte, n int) string {
	d.t.Helper()
	if err := os.WriteFile(d.join(name), bytes.Repeat([]byte{b}, n), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return d.join(name)
}

// image makes a qcow2 image.
func (d dir) image(name string, o qcow2.CreateOptions) string {
	d.t.Helper()
	f, err := qcow2.OpenFile(d.join(name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, o), f.Close()); err != nil {
		d.t.Fatal(err)
	}
	return d.join(name)
}

func mustOpen(t *testing.T, spec Spec) Device {
	t.Helper()
	d, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func readByte(t *testing.T, d Device, off int64) byte {
	t.Helper()
	var b [1]byte
	if err := d.ReadV([][]byte{b[:]}, off); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

// TestDevices runs the same requests on every kind of device.
func TestDevices(t *testing.T) {
	const size = 1 << 20
	at := newDir(t)
	specs := map[string]Spec{
		"raw":   {Path: at.raw("raw", 0, size), Format: FormatRaw},
		"qcow2": {Path: at.image("qcow2", qcow2.CreateOptions{Size: size})},
		"null":  {Format: FormatNull, Size: size},
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			d := mustOpen(t, spec)
			keeps := name != "null"
			if d.Size() != size || d.ReadOnly() || !d.CanDiscard() || !d.DiscardZeroes() {
				t.Errorf("size %d, read-only %v, discard %v, zeroes %v", d.Size(), d.ReadOnly(), d.CanDiscard(), d.DiscardZeroes())
			}
			ones := bytes.Repeat([]byte{1}, 200<<10)
			if err := d.WriteV([][]byte{ones[:100], nil, ones[100:]}, 1000); err != nil {
				t.Fatal(err)
			}
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			if b := readByte(t, d, 1000); (b == 1) != keeps {
				t.Errorf("read %d after writing 1", b)
			}
			if err := d.WriteZeroes(1000, 10, false); err != nil || readByte(t, d, 1000) != 0 {
				t.Errorf("zeroes: %v", err)
			}
			if err := d.WriteZeroes(1010, 10, true); err != nil || readByte(t, d, 1010) != 0 {
				t.Errorf("zeroes with unmap: %v", err)
			}
			if err := d.Discard(64<<10, 64<<10); err != nil || readByte(t, d, 100<<10) != 0 {
				t.Errorf("discard: %v", err)
			}
			if b := readByte(t, d, 1020); (b == 1) != keeps {
				t.Errorf("read %d beside the zeroes", b)
			}
			for what, err := range map[string]error{
				"read past the end":   d.ReadV([][]byte{ones}, size-1),
				"write past the end":  d.WriteV([][]byte{ones}, size-1),
				"zeroes past the end": d.WriteZeroes(size-1, 2, false),
				"discard before 0":    d.Discard(-1, 1),
			} {
				if !errors.Is(err, ErrRange) && !errors.Is(err, qcow2.ErrRange) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		t.Run(name+" read-only", func(t *testing.T) {
			spec.ReadOnly = true
			d := mustOpen(t, spec)
			if !d.ReadOnly() || d.CanDiscard() {
				t.Error("it says it can be written")
			}
			for what, err := range map[string]error{
				"write":   d.WriteV([][]byte{{1}}, 0),
				"zeroes":  d.WriteZeroes(0, 512, true),
				"discard": d.Discard(0, 512),
			} {
				if !errors.Is(err, ErrReadOnly) && !errors.Is(err, qcow2.ErrReadOnly) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := d.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRawLastSector opens a file that does not end on a sector.
func TestRawLastSector(t *testing.T) {
	d := mustOpen(t, Spec{Path: newDir(t).raw("odd", 7, 1000), Format: FormatRaw})
	if d.Size() != 1024 || readByte(t, d, 999) != 7 || readByte(t, d, 1000) != 0 {
		t.Errorf("size %d, last bytes %d, %d", d.Size(), readByte(t, d, 999), readByte(t, d, 1000))
	}
}

// TestOpenErrors names what is wrong in one line.
func TestOpenErrors(t *testing.T) {
	at := newDir(t)
	at.raw("raw", 0, 4096)
	at.raw("empty", 0, 0)
	for _, tt := range []struct {
		spec Spec
		want error
		text string
	}{
		{Spec{Path: at.join("none")}, os.ErrNotExist, "none"},
		{Spec{Path: at.join("raw")}, ErrFormat, "that a file is raw is never guessed"},
		{Spec{Path: at.join("empty")}, ErrFormat, "not a qcow2 image"},
		{Spec{Path: at.join("raw"), Format: FormatQCOW2}, qcow2.ErrFormat, "raw"},
		{Spec{Path: at.path, Format: FormatRaw, ReadOnly: true}, nil, "neither a regular file nor a device with a size"},
		{Spec{Path: at.join("raw"), Format: "vdi"}, ErrFormat, `"vdi"`},
	} {
		d, err := Open(tt.spec)
		if err == nil || d != nil || !strings.Contains(err.Error(), tt.text) || tt.want != nil && !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, %v; want %v in one line with %q", tt.spec, d, err, tt.want, tt.text)
		}
	}
}

// TestBackingChain opens chains of qcow2 and raw files, with names relative to
// the file that holds them.
func TestBackingChain(t *testing.T) {
	at := newDir(t)
	if err := os.Mkdir(at.join("sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	at.raw("sub/base", 9, 1<<20)
	at.image("sub/mid", qcow2.CreateOptions{Size: 1 << 20, BackingFile: "base", BackingFormat: "raw"})
	top := at.image("top", qcow2.CreateOptions{Size: 2 << 20, BackingFile: "file:sub/mid", BackingFormat: "qcow2"})
	d := mustOpen(t, Spec{Path: top})
	if readByte(t, d, 12345) != 9 || readByte(t, d, 1<<20) != 0 {
		t.Error("the base does not show through")
	}
	if err := d.WriteV([][]byte{{1}}, 12345); err != nil {
		t.Fatal(err)
	}
	if readByte(t, d, 12344) != 9 || readByte(t, d, 12345) != 1 {
		t.Error("copy on write")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(at.join("sub/base")); err != nil || b[12345] != 9 {
		t.Error("the base was written to")
	}
	if _, err := Open(Spec{Path: top, NoBacking: true}); !errors.Is(err, qcow2.ErrBacking) {
		t.Errorf("with backing=off: %v", err)
	}
}

// TestDataFile opens an image whose data is in a file beside it: the one that it
// names, or the one that the caller names, but neither when none may be opened.
func TestDataFile(t *testing.T) {
	at := newDir(t)
	create := func(name, recorded string) string {
		t.Helper()
		data, err := qcow2.OpenFile(at.join("data-of-"+name), os.O_RDWR|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		path := at.image(name, qcow2.CreateOptions{Size: 1 << 20, DataFile: recorded, Data: data})
		if err := data.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	named := create("named", at.join("data-of-named"))
	moved := create("moved", "nowhere")
	for _, spec := range []Spec{{Path: named}, {Path: moved, DataFile: at.join("data-of-moved")}} {
		d := mustOpen(t, spec)
		if err := d.WriteV([][]byte{{7}}, 300<<10); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(at.join("data-of-" + filepath.Base(spec.Path)))
		if err != nil || data[300<<10] != 7 {
			t.Errorf("%v: the data is not there: %v", spec, err)
		}
		spec.ReadOnly = true
		if readByte(t, mustOpen(t, spec), 300<<10) != 7 {
			t.Errorf("%v: the data does not come back", spec)
		}
	}
	overlay := at.image("overlay", qcow2.CreateOptions{Size: 1 << 20, BackingFile: named, BackingFormat: "qcow2"})
	if readByte(t, mustOpen(t, Spec{Path: overlay}), 300<<10) != 7 {
		t.Error("a backing file with a data file does not show through")
	}
	for _, tt := range []struct {
		spec Spec
		want error
		text string
	}{
		{Spec{Path: named, ReadOnly: true, NoDataFile: true}, qcow2.ErrDataFile, "no such file may be opened"},
		{Spec{Path: moved, ReadOnly: true}, os.ErrNotExist, "nowhere"},
		{Spec{Path: create("self", at.join("self"))}, ErrBacking, "comes back to"},
		{Spec{Path: create("proto", "nbd://host/x")}, ErrBacking, "names a protocol"},
		{Spec{Path: create("json", `json:{"driver":"null-co"}`)}, ErrBacking, "names a protocol"},
	} {
		if _, err := Open(tt.spec); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v; want %v with %q", tt.spec, err, tt.want, tt.text)
		}
	}
}

// TestBackingRefused opens images whose backing files must not be opened.
func TestBackingRefused(t *testing.T) {
	at := newDir(t)
	at.raw("raw", 0, 4096)
	overlay := func(name, backing, format string) string {
		return at.image(name, qcow2.CreateOptions{Size: 1 << 20, BackingFile: backing, BackingFormat: format})
	}
	// An image without a recorded format: QEMU used to write such.
	unnamed := func(name, backing string) string {
		path := overlay(name, backing, "raw")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[112], data[113], data[114], data[115] = 1, 2, 3, 4 // an extension nobody knows
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i := range maxDepth + 1 {
		overlay(fmt.Sprintf("deep%d", i+1), fmt.Sprintf("deep%d", i), "qcow2")
	}
	at.image("deep0", qcow2.CreateOptions{Size: 1 << 20})
	overlay("b", "a", "qcow2")
	for _, tt := range []struct {
		path string
		want error
		text string
	}{
		{overlay("self", "self", "qcow2"), ErrBacking, "comes back to"},
		{overlay("a", "b", "qcow2"), ErrBacking, "comes back to"},
		{at.join(fmt.Sprintf("deep%d", maxDepth+1)), ErrBacking, "more than 64 files"},
		{overlay("nbd", "nbd://host/x", "raw"), ErrBacking, "names a protocol"},
		{overlay("json", `json:{"driver":"null-co"}`, "raw"), ErrBacking, "names a protocol"},
		{overlay("vmdk", "raw", "vmdk"), ErrFormat, `"vmdk"`},
		{overlay("gone", "nowhere", "raw"), os.ErrNotExist, "nowhere"},
		{unnamed("unnamed", "raw"), ErrFormat, "never guessed"},
	} {
		d, err := Open(Spec{Path: tt.path})
		if !errors.Is(err, tt.want) || d != nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v; want %v with %q", filepath.Base(tt.path), err, tt.want, tt.text)
		}
	}
	if d, err := Open(Spec{Path: unnamed("fine", "deep0")}); err != nil {
		t.Errorf("an image that backs without a recorded format: %v", err)
	} else if err := d.Close(); err != nil {
		t.Error(err)
	}
	if d, err := Open(Spec{Path: at.join(fmt.Sprintf("deep%d", maxDepth))}); err != nil {
		t.Errorf("the longest chain: %v", err)
	} else if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestNothingLeaks counts open files: failed opens give all of theirs back.
func TestNothingLeaks(t *testing.T) {
	at := newDir(t)
	at.image("base", qcow2.CreateOptions{Size: 1 << 20, BackingFile: "nowhere", BackingFormat: "raw"})
	top := at.image("top", qcow2.CreateOptions{Size: 1 << 20, BackingFile: "base", BackingFormat: "qcow2"})
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	attempt := func() {
		t.Helper()
		if _, err := Open(Spec{Path: top}); err == nil {
			t.Fatal("opened")
		}
	}
	attempt() // what is opened once and for all is open
	before := open()
	for range 5 {
		attempt()
	}
	if after := open(); after > before { // the collector may close files of other tests
		t.Errorf("%d open files before, %d after", before, after)
	}
}
