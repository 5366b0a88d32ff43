package blockopt

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/govmm/govmm/internal/block"
)

// TestParseSize parses numbers of bytes.
func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "512": 512, "1k": 1024, "1K": 1024, "1.5k": 1536, "0x10": 16, "0X1e": 30, "3b": 3, "1M": 1 << 20, "2G": 2 << 30, "1T": 1 << 40, "1P": 1 << 50, "7E": 7 << 60,
		"9223372036854775807": 1<<63 - 1, "1.0": 1, "0.1k": 102, "0.0005k": 1, "1.k": 1024, "0x1k": 1024, "0x10G": 16 << 30,
	} {
		if n, err := ParseSize(s); n != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", s, n, err, want)
		}
	}
	for s, want := range map[string]error{
		"": syscall.EINVAL, "x": syscall.EINVAL, "1x": syscall.EINVAL, "1kk": syscall.EINVAL, "0x": syscall.EINVAL, "0x1kk": syscall.EINVAL, "0xk": syscall.EINVAL, "0x1.5k": syscall.EINVAL, "-1": syscall.EINVAL,
		"1.5": syscall.EINVAL, ".5k": syscall.EINVAL, "1..5k": syscall.EINVAL, "1e3": syscall.EINVAL, "k": syscall.EINVAL, "1/2k": syscall.EINVAL,
		"9223372036854775808": syscall.ERANGE, "8E": syscall.ERANGE, "0x8000000000000000": syscall.ERANGE, "99999999999999999999999": syscall.ERANGE,
	} {
		if n, err := ParseSize(s); !errors.Is(err, want) {
			t.Errorf("%s: %d, %v; want %v", s, n, err, want)
		}
	}
}

// disk makes a file that is a raw disk, and moves there.
func disk(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"raw", "a,b"} {
		if err := os.WriteFile(name, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestResolve opens what the options name, and knows it by QEMU's name for it.
func TestResolve(t *testing.T) {
	disk(t)
	objects := &Objects{Secrets: Secrets{"s": "tell"}}
	for _, tt := range []struct{ options, path, format, name, full string }{
		{"driver=qcow2,file.filename=raw", "raw", "qcow2", "raw", ""},
		{"file.filename=raw", "raw", "raw", "raw", ""},
		{"driver=file,filename=a,,b", "a,b", "raw", "a,b", ""},
		{"driver=raw,offset=512,file.filename=raw", "raw", "raw", "", `{"driver":"raw","file":{"driver":"file","filename":"raw"},"offset":"512"}`},
		{`json:{"driver":"raw","size":1024,"file":{"driver":"file","filename":"raw"}}`, "raw", "raw", "", `{"driver":"raw","file":{"driver":"file","filename":"raw"},"size":1024}`},
		{"driver=luks,key-secret=s,file.filename=raw", "raw", "luks", "", `{"driver":"luks","file":{"driver":"file","filename":"raw"},"key-secret":"s"}`},
		{"driver=null-co", "", "null", "null-co://", ""},
		{"driver=null-aio,size=1M", "", "null", "", `{"driver":"null-aio","size":"1M"}`},
		{"blkdebug::raw", "raw", "raw", "blkdebug::raw", ""},
		{"driver=blkdebug,image.filename=raw", "raw", "raw", "blkdebug::raw", ""},
		{"driver=qcow2,file.driver=blkdebug,file.image.filename=raw,file.inject-error.0.event=read_aio", "raw", "qcow2", "",
			`{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"raw"},"inject-error.0.event":"read_aio"}}`},
		{"file:raw", "raw", "raw", "raw", ""},
	} {
		tree, err := ParseName(tt.options)
		if !strings.Contains(tt.options[:8], ":") && !strings.HasPrefix(tt.options, "blkdebug:") {
			tree, err = ParseOptions(tt.options, nil), nil
		}
		if err != nil {
			t.Errorf("%s: %v", tt.options, err)
			continue
		}
		s, err := tree.Resolve(objects)
		if err != nil {
			t.Errorf("%s: %v", tt.options, err)
			continue
		}
		full := ""
		if s.Full != nil {
			b, err := json.Marshal(s.Full)
			if err != nil {
				t.Fatal(err)
			}
			full = string(b)
		}
		if s.Spec.Path != tt.path || s.Spec.Format != tt.format || s.Name != tt.name || full != tt.full {
			t.Errorf("%s: path %q, format %q, name %q, %s; want %q, %q, %q, %s", tt.options, s.Spec.Path, s.Spec.Format, s.Name, full, tt.path, tt.format, tt.name, tt.full)
		}
	}
}

// TestBackingByOptions puts an image on another backing file than its own.
func TestBackingByOptions(t *testing.T) {
	disk(t)
	for options, want := range map[string]block.Spec{
		"backing.driver=raw,backing.file.filename=b": {Path: "b", Format: "raw"},
		"backing.file.filename=raw":                  {Path: "raw"},
		"backing.driver=raw,backing.offset=512,backing.file.filename=b,backing.cache.direct=on": {Path: "b", Format: "raw", Direct: true},
		"backing.driver=qcow2,backing.l2-cache-size=1M":                                         {Format: "qcow2", L2CacheSize: 1 << 20},
		"backing.driver=null-co,backing.size=1M":                                                {Format: "null", Size: 1 << 20},
	} {
		s, err := ParseOptions("driver=qcow2,file.filename=top,"+options, nil).Resolve(nil)
		if err != nil {
			t.Errorf("%s: %v", options, err)
			continue
		}
		got := *s.Spec.Backing
		if w := got.Window; (w != nil) != strings.Contains(options, "offset") || w != nil && (w.Offset != 512 || w.Size >= 0) {
			t.Errorf("%s: window %v", options, w)
		}
		got.Window, got.FileDriver, want.ReadOnly = nil, "", true
		if got != want {
			t.Errorf("%s: %+v, want %+v", options, got, want)
		}
	}
	for _, alone := range []string{`json:{"driver":"qcow2","file.filename":"top","backing":null}`, `json:{"driver":"qcow2","file":{"filename":"top"},"backing":""}`} {
		tree, err := ParseName(alone)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := tree.Resolve(nil); err != nil || !s.Spec.Alone {
			t.Errorf("%s: %+v, %v", alone, s, err)
		}
	}
}

// TestRefused has an error for what is not known, in QEMU's words.
func TestRefused(t *testing.T) {
	disk(t)
	for options, want := range map[string]string{
		"driver=foo":                           "Unknown driver 'foo'",
		"driver=qcow2":                         `A block device must be specified for "file"`,
		"":                                     "Must specify either driver or file",
		"raw":                                  "Cannot find device='raw' nor node-name='raw'",
		"driver=raw,file=raw":                  "Cannot find device='raw' nor node-name='raw'",
		"file.driver=file":                     "The 'file' block driver requires a file name",
		"driver=raw,file.driver=foo":           "Unknown driver 'foo'",
		"driver=qcow2,file.filename=raw,foo=3": "Block format 'qcow2' does not support the option 'foo'",
		"driver=qcow2,file.filename=raw,file.foo=3":                         "Block protocol 'file' doesn't support the option 'foo'",
		"driver=null-co,foo=3":                                              "Block protocol 'null-co' doesn't support the option 'foo'",
		"driver=raw,file.filename=raw,file.locking=foo":                     "invalid parameter value: foo",
		"driver=raw,file.filename=raw,discard=foo":                          "Invalid discard option",
		"driver=raw,file.filename=raw,read-only=foo":                        "Parameter 'read-only' expects 'on' or 'off'",
		"driver=raw,file.filename=raw,offset=x":                             string(SizeError("offset").Error()),
		"driver=luks,file.filename=raw,key-secret=x":                        "No secret with id 'x'",
		"driver=qcow2,file.filename=raw,backing=x":                          "Could not open backing file: Cannot find device='x' nor node-name='x'",
		"driver=qcow2,file.filename=raw,backing.driver=qcow2,backing.foo=3": "Could not open backing file: Block format 'qcow2' does not support the option 'foo'",
		"driver=qcow2,file.filename=raw,data-file.foo=3":                    "Must specify either driver or file",
	} {
		if _, err := ParseOptions(options, nil).Resolve(NewObjects()); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", options, err, want)
		}
	}
	if _, err := ParseOptions("file.filename=none", nil).Resolve(nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, name := range []string{"http://x", "nbd:x", "blkdebug:x", "json:{", "json:[]"} {
		if _, err := ParseName(name); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
