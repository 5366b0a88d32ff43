package vmm

import (
	"strings"
	"testing"
)

func TestUUID(t *testing.T) {
	const text = "00112233-4455-6677-8899-aabbccddeeff"
	for _, given := range []string{text, strings.ToUpper(text)} {
		u, err := ParseUUID(given)
		if err != nil || u.String() != text {
			t.Errorf("%s: %v, %v", given, u, err)
		}
		if want := [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF}; u.smbios() != want {
			t.Errorf("in SMBIOS: % x", u.smbios())
		}
	}
	for _, bad := range []string{"", "x", text[1:], text + "0", strings.ReplaceAll(text, "-", ""), "0011-22334455-6677-8899-aabbccddeeff", strings.Replace(text, "0", "g", 1)} {
		if u, err := ParseUUID(bad); err == nil || !strings.Contains(err.Error(), "is no UUID") {
			t.Errorf("%q: %v, %v", bad, u, err)
		}
	}
}
