package smbios

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func machine() Config {
	return Config{
		Firmware: "govmm", FirmwareVersion: "1.2",
		Manufacturer: "govmm", Product: "PC", Version: "i440FX",
		UUID: [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF},
		CPUs: 4, Processor: "AMD EPYC Processor", CPUID: [2]uint32{0x800F12, 0x78BFBFF},
		Memory: []Range{{0, 3 << 30}, {4 << 30, 5 << 30}},
	}
}

// walk returns the types of the structures, and fails the test if one is not well
// formed.
func walk(t *testing.T, p []byte) (types []byte) {
	t.Helper()
	handles := map[uint16]bool{}
	for len(p) > 0 {
		if len(p) < 4 || int(p[1]) > len(p) || p[1] < 4 {
			t.Fatalf("structure of % x", p[:min(8, len(p))])
		}
		handle := binary.LittleEndian.Uint16(p[2:])
		if handles[handle] {
			t.Errorf("handle %d comes twice", handle)
		}
		handles[handle] = true
		types = append(types, p[0])
		end := strings.Index(string(p[p[1]:]), "\x00\x00")
		if end < 0 {
			t.Fatalf("structure of type %d has no end", p[0])
		}
		p = p[int(p[1])+end+2:]
	}
	return types
}

func TestStructures(t *testing.T) {
	tables, err := Build(machine(), 0xF1000)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(walk(t, tables.Structures)), "\x00\x01\x03\x04\x10\x11\x13\x13\x20\x7F"; got != want {
		t.Errorf("types % x, want % x", got, want)
	}
	var sum byte
	for _, v := range tables.Entry {
		sum += v
	}
	if sum != 0 || len(tables.Entry) != EntrySize {
		t.Errorf("entry point of %d bytes with the sum %d", len(tables.Entry), sum)
	}
	c := machine()
	c.Firmware = ""
	if tables, err = Build(c, 0); err != nil || walk(t, tables.Structures)[0] != typeSystem {
		t.Errorf("without a firmware of ours: %v", err)
	}
	c.CPUs = 0
	if _, err := Build(c, 0); err == nil {
		t.Error("no processors, and no error")
	}
}

// dmidecode reads what was made, and has nothing to complain of.
func TestAgainstReferee(t *testing.T) {
	if _, err := exec.LookPath("dmidecode"); err != nil {
		t.Skipf("%v (package dmidecode)", err)
	}
	huge := machine()
	huge.Memory = []Range{{0, 3 << 30}, {4 << 30, 5 << 40}}
	huge.CPUs = 300
	for name, test := range map[string]struct {
		c    Config
		want []string
	}{
		"usual": {machine(), []string{
			"Vendor: govmm", "Product Name: PC", "UUID: 00112233-4455-6677-8899-aabbccddeeff", "Version: AMD EPYC Processor",
			"Core Count: 4", "Status: Populated, Enabled", "Maximum Capacity: 8 GB", "Size: 8 GB", "Range Size: 3 GB", "Range Size: 5 GB",
			"Starting Address: 0x00100000000", "Status: No errors detected", "End Of Table", "System is a virtual machine",
		}},
		"huge": {huge, []string{"Core Count: 300", "Size: 5123 GB", "Range Size: 5 TB"}},
	} {
		t.Run(name, func(t *testing.T) {
			const place = 32 // of the structures in a dump
			tables, err := Build(test.c, place)
			if err != nil {
				t.Fatal(err)
			}
			dump := make([]byte, place)
			copy(dump, tables.Entry)
			path := filepath.Join(t.TempDir(), "dump")
			if err := os.WriteFile(path, append(dump, tables.Structures...), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("dmidecode", "--from-dump", path).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text := string(out)
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
			for _, bad := range []string{"<BAD", "OUT OF SPEC", "wrong", "truncated", "Invalid"} {
				if strings.Contains(text, bad) {
					t.Errorf("%q is in\n%s", bad, text)
				}
			}
		})
	}
}
