package blockopt

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"
	"syscall"
)

// ParseSize reads a number of bytes: decimal, hexadecimal with 0x, or decimal with one
// letter b, k, M, G, T, P or E for a power of 1024, and then also with a fraction; blanks
// may stand in front. The error is syscall.EINVAL or, for what is beyond 2^63-1, syscall.ERANGE.
func ParseSize(s string) (int64, error) {
	n, err := ParseUnsignedSize(s)
	if err == nil && n > math.MaxInt64 {
		return 0, syscall.ERANGE
	}
	return int64(n), err
}

// ParseUnsignedSize is ParseSize up to 2^64-1.
func ParseUnsignedSize(s string) (uint64, error) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return 0, syscall.ERANGE
		case err != nil:
			return 0, syscall.EINVAL
		}
		return n, nil
	}
	digits := strings.TrimRight(s, "bBkKmMgGtTpPeE")
	shift := 0
	switch suffix := s[len(digits):]; {
	case len(suffix) > 1:
		return 0, syscall.EINVAL
	case suffix != "":
		shift = 10 * strings.Index("bkmgtpe", strings.ToLower(suffix))
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
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsUint64() {
		return 0, syscall.ERANGE
	}
	return n.Uint64(), nil
}
