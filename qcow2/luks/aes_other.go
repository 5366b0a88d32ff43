//go:build !amd64

package luks

// aesKeys is for processors whose instructions are used directly.
type aesKeys struct{}

func newAESKeys([]byte) *aesKeys { return nil }

func (*aesKeys) xts(dst, src []byte, tweaks *[SectorSize]byte, encrypt bool) {}
