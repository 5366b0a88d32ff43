package luks

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// Modes of operation and generators of initialization vectors.
const (
	modeXTS = "xts"
	modeCBC = "cbc"
	modeECB = "ecb"

	ivPlain   = "plain"
	ivPlain64 = "plain64"
	ivESSIV   = "essiv"
)

// spec says how sectors are encrypted.
type spec struct {
	mode   string
	ivGen  string
	ivHash string // of essiv; other generators ignore it
	hash   string
	key    int // bytes of the master key
}

// newHash returns the constructor of a hash, nil if there is none of that name.
func newHash(name string) func() hash.Hash {
	switch name {
	case "sha1":
		return sha1.New
	case "sha224":
		return sha256.New224
	case "sha256":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	}
	return nil
}

// validate refuses what is not built.
func (s *spec) validate() error {
	allow := func(what, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return fmt.Errorf("%w %s %q (%s are allowed)", ErrUnsupported, what, value, strings.Join(allowed, ", "))
	}
	if err := allow("cipher mode", s.mode, modeXTS, modeCBC, modeECB); err != nil {
		return err
	}
	if err := allow("generator of initialization vectors", s.ivGen, ivPlain, ivPlain64, ivESSIV); err != nil {
		return err
	}
	if err := allow("hash", s.hash, "sha1", "sha224", "sha256", "sha384", "sha512"); err != nil {
		return err
	}
	if s.ivGen == ivESSIV {
		h := newHash(s.ivHash)
		if h == nil || !aesKeySize(h().Size()) {
			return fmt.Errorf("%w hash %q for essiv (sha256 is allowed)", ErrUnsupported, s.ivHash)
		}
	}
	n := s.key
	if s.mode == modeXTS {
		n /= 2
	}
	if !aesKeySize(n) || s.mode == modeXTS && s.key%2 != 0 {
		return fmt.Errorf("%w key of %d bytes for aes in mode %s", ErrUnsupported, s.key, s.mode)
	}
	return nil
}

func aesKeySize(n int) bool { return n == 16 || n == 24 || n == 32 }

// spec interprets what a header says about its cipher.
func (h *Header) spec() (spec, error) {
	if h.CipherName != "aes" {
		return spec{}, fmt.Errorf("%w cipher %q (aes is allowed)", ErrUnsupported, h.CipherName)
	}
	mode, iv, ok := strings.Cut(h.CipherMode, "-")
	if !ok {
		return spec{}, fmt.Errorf("%w: cipher mode %q names no initialization vectors", ErrInvalid, h.CipherMode)
	}
	gen, ivHash, _ := strings.Cut(iv, ":")
	if h.KeyBytes > 64 {
		return spec{}, fmt.Errorf("%w key of %d bytes", ErrUnsupported, h.KeyBytes)
	}
	s := spec{mode: mode, ivGen: gen, ivHash: ivHash, hash: h.Hash, key: int(h.KeyBytes)}
	return s, s.validate()
}
