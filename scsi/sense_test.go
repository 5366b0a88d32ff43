package scsi

import (
	"bytes"
	"strings"
	"testing"
)

func TestSenseFormats(t *testing.T) {
	for _, c := range []struct {
		name              string
		sense             Sense
		fixed, descriptor string
	}{
		{"none", Sense{},
			"70 00 00 00000000 0a 00000000 00 00 00 000000",
			"72 00 00 00 00 00 00 00"},
		{"field and bit", invalidField(1, 7),
			"70 00 05 00000000 0a 00000000 24 00 00 cf0001",
			"72 05 24 00 00 00 00 08 02 06 00 00 cf 00 01 00"},
		{"bit 0", invalidField(300, 0),
			"70 00 05 00000000 0a 00000000 24 00 00 c8012c",
			"72 05 24 00 00 00 00 08 02 06 00 00 c8 01 2c 00"},
		{"parameter", invalidParameter(258),
			"70 00 05 00000000 0a 00000000 26 00 00 800102",
			"72 05 26 00 00 00 00 08 02 06 00 00 80 01 02 00"},
		{"information", Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError, HasInfo: true, Info: 0x12345678},
			"f0 00 03 12345678 0a 00000000 11 00 00 000000",
			"72 03 11 00 00 00 00 0c 00 0a 80 00 00 00 00 00 12 34 56 78"},
	} {
		var b [SenseSize]byte
		c.sense.fixed(&b)
		if want := unhex(t, c.fixed); !bytes.Equal(b[:], want) {
			t.Errorf("%s: fixed\n got % x\nwant % x", c.name, b, want)
		}
		d := c.sense.appendDescriptor(nil)
		if want := unhex(t, c.descriptor); !bytes.Equal(d, want) {
			t.Errorf("%s: descriptor\n got % x\nwant % x", c.name, d, want)
		}
		for _, p := range [][]byte{b[:], d} {
			if got, ok := ParseSense(p); !ok || got != c.sense {
				t.Errorf("%s: ParseSense(% x) = %+v, %v", c.name, p, got, ok)
			}
		}
	}
}

// An address that has no place in the fixed format is left out, not cut.
func TestSenseLargeInformation(t *testing.T) {
	s := Sense{Key: KeyMediumError, Code: ASCWriteError, HasInfo: true, Info: 1 << 32}
	var b [SenseSize]byte
	s.fixed(&b)
	if got, _ := ParseSense(b[:]); got.HasInfo || b[0] != 0x70 {
		t.Errorf("% x", b)
	}
	if got, _ := ParseSense(s.appendDescriptor(nil)); got != s {
		t.Errorf("descriptor format: %+v", got)
	}
}

func TestParseSenseRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, {0x70}, make([]byte, 18), bytes.Repeat([]byte{0x70}, 13), {0x72, 5, 0, 0}, bytes.Repeat([]byte{0x7F}, 18)} {
		if s, ok := ParseSense(b); ok {
			t.Errorf("ParseSense(% x) = %v", b, s)
		}
	}
}

func FuzzParseSense(f *testing.F) {
	f.Add(unhex(f, "70 00 05 00000000 0a 00000000 24 00 00 cf0001"))
	f.Add(unhex(f, "72 05 24 00 00 00 00 08 02 06 00 00 cf 00 01 00"))
	f.Add([]byte{0x72, 1, 2, 3, 4, 5, 6, 0xFF, 0, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseSense(b)
		if !ok {
			return
		}
		if again, ok := ParseSense(s.appendDescriptor(nil)); !ok || again != s {
			t.Errorf("% x: %+v became %+v", b, s, again)
		}
	})
}

// Every constant has a name of its own.
func TestStringers(t *testing.T) {
	seen := map[string]bool{}
	check := func(name string, known bool) {
		t.Helper()
		if name == "" || seen[name] || known == strings.ContainsAny(name, "0123456789") {
			t.Errorf("name %q (known: %v)", name, known)
		}
		seen[name] = true
	}
	for _, s := range []Status{StatusGood, StatusCheckCondition, StatusConditionMet, StatusBusy,
		StatusReservationConflict, StatusTaskSetFull, StatusACAActive, StatusTaskAborted} {
		check(s.String(), true)
	}
	check(Status(0xFE).String(), false)
	for k := range SenseKey(16) {
		check(k.String(), k != 0xC)
	}
	check(SenseKey(99).String(), false)
	for _, n := range ascNames {
		check(n.code.String(), true)
	}
	check(ASC(0xFFFE).String(), false)
}
