package imgtool

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

var errSizeRange = errors.New("size out of range")

// parseSize reads a number of bytes: decimal with an optional fraction or
// hexadecimal, with an optional unit b, k, M, G, T, P or E (powers of 1024).
func parseSize(text string) (int64, error) {
	bad := fmt.Errorf("invalid size %q", text)
	number, unit := text, int64(1)
	if hex := strings.HasPrefix(strings.ToLower(text), "0x"); !hex && text != "" {
		switch text[len(text)-1] | 0x20 {
		case 'b':
			number = text[:len(text)-1]
		case 'k', 'm', 'g', 't', 'p', 'e':
			number = text[:len(text)-1]
			unit = 1 << (10 * (1 + strings.IndexByte("kmgtpe", text[len(text)-1]|0x20)))
		}
	} else if hex {
		n, err := strconv.ParseUint(text[2:], 16, 64)
		if err != nil || n > math.MaxInt64 {
			return 0, bad
		}
		return int64(n), nil
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" || strings.Count(number, ".") > 1 || number[0] == '.' {
		return 0, bad
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, bad
	}
	if unit == 1 && strings.Contains(number, ".") {
		return 0, bad // a fraction of bytes
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, errSizeRange
	}
	return n.Int64(), nil
}

// imageSize reads a size given by the user; what names it in messages.
func imageSize(text, what string) (int64, error) {
	n, err := parseSize(text)
	switch {
	case errors.Is(err, errSizeRange):
		return 0, fmt.Errorf("Invalid %s specified. Must be between 0 and %d%s", what, int64(math.MaxInt64), ".")
	case err != nil:
		return 0, &sizeSyntaxError{what}
	}
	return n, nil
}

// sizeSyntaxError takes two lines.
type sizeSyntaxError struct{ what string }

func (e *sizeSyntaxError) Error() string {
	return fmt.Sprintf("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", e.what)
}

// humanSize prints a size with three digits and a unit of 1024's powers.
func humanSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return formatG3(v) + " " + units[i]
}

// formatG3 is C's %0.3g.
func formatG3(v float64) string {
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if mantissa, exp, ok := strings.Cut(s, "e"); ok {
		sign, digits := exp[:1], strings.TrimLeft(exp[1:], "0")
		for len(digits) < 2 {
			digits = "0" + digits
		}
		return mantissa + "e" + sign + digits
	}
	return s
}

// parseNumber reads a decimal or hexadecimal number without a unit.
func parseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 0, 64)
	if err == nil && n < 0 {
		err = errSizeRange
	}
	return n, err
}
