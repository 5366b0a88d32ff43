package blockopt

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"syscall"
)

// ParseSize reads a number of bytes: decimal or, with 0x, hexadecimal, with one letter
// b, k, M, G, T, P or E for a power of 1024 behind it; then a decimal one may have a fraction.
// Blanks may stand in front. The error is syscall.EINVAL or, for what is beyond 2^63-1, syscall.ERANGE.
func ParseSize(s string) (int64, error) {
	n, err := ParseUnsignedSize(s)
	if err == nil && n > math.MaxInt64 {
		return 0, syscall.ERANGE
	}
	return int64(n), err
}

// ParseUnsignedSize is ParseSize up to 2^64-1.
func ParseUnsignedSize(s string) (uint64, error) {
	s = strings.TrimPrefix(strings.TrimLeft(s, " \t\n\v\f\r"), "+")
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		shift := 0
		if digits := strings.TrimRight(hex, hexSuffixes); len(digits) == len(hex)-1 {
			shift, hex = unit(hex[len(digits):]), digits
		}
		n, err := strconv.ParseUint(hex, 16, 64)
		switch {
		case errors.Is(err, strconv.ErrRange), err == nil && n > math.MaxUint64>>shift:
			return 0, syscall.ERANGE
		case err != nil:
			return 0, syscall.EINVAL
		}
		return n << shift, nil
	}
	digits := strings.TrimRight(s, "bBkKmMgGtTpPeE")
	shift := 0
	switch suffix := s[len(digits):]; {
	case len(suffix) > 1:
		return 0, syscall.EINVAL
	case suffix != "":
		shift = unit(suffix)
	}
	if digits == "" || digits[0] == '.' || strings.Trim(digits, "0123456789.") != "" {
		return 0, syscall.EINVAL
	}
	r, ok := new(big.Rat).SetString(digits)
	if !ok {
		return 0, syscall.EINVAL
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(shift))))
	if !r.IsInt() && shift == 0 {
		return 0, syscall.EINVAL
	}
	// A half is rounded up.
	r.Add(r, big.NewRat(1, 2))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsUint64() {
		return 0, syscall.ERANGE
	}
	return n.Uint64(), nil
}

// unit is the power of 2 that a letter stands for.
func unit(letter string) int { return 10 * strings.Index("bkmgtpe", strings.ToLower(letter)) }

// hexSuffixes are the letters that are not digits of hexadecimal numbers.
const hexSuffixes = "kmgtp"

// WarnSize hands what there is to say against the form of a size to warn, which prints it.
func WarnSize(s string, warn func(text string)) {
	hex, ok := strings.CutPrefix(strings.ToLower(strings.TrimLeft(s, " \t\n\v\f\r")), "0x")
	digits := strings.TrimLeft(hex, "0123456789abcdef")
	if ok && len(digits) < len(hex) && digits != "" && strings.Contains(hexSuffixes, digits[:1]) && warn != nil {
		warn("Using a multiplier suffix on hex numbers is deprecated: " + s)
	}
}
