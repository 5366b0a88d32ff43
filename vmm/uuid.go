package vmm

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// UUID tells a machine from all others (RFC 9562), its bytes in the order in which it
// is written. The zero value is that of a machine that has none.
type UUID [16]byte

// uuidLen is the length of one that is written out.
const uuidLen = 36

// ParseUUID reads the form 01234567-89ab-cdef-0123-456789abcdef.
func ParseUUID(text string) (u UUID, err error) {
	digits := strings.ReplaceAll(text, "-", "")
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(u) {
		return UUID{}, fmt.Errorf("%q is no UUID: must be as 01234567-89ab-cdef-0123-456789abcdef", text)
	}
	copy(u[:], b)
	if len(text) != uuidLen || !strings.EqualFold(text, u.String()) {
		return UUID{}, fmt.Errorf("%q is no UUID: must be as %s", text, u)
	}
	return u, nil
}

// String is the form that ParseUUID reads.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// smbios is the UUID as SMBIOS has it: the first three numbers are little-endian
// (DSP0134, 7.2.1).
func (u UUID) smbios() [16]byte {
	slices.Reverse(u[:4])
	slices.Reverse(u[4:6])
	slices.Reverse(u[6:8])
	return u
}
