package imgtool

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
)

// imageSize reads a size given by the user; what names it in messages.
func (a *arguments) imageSize(text, what string) (int64, error) {
	blockopt.WarnSize(text, a.warn)
	n, err := blockopt.ParseSize(text)
	switch {
	case errors.Is(err, syscall.ERANGE):
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
		err = syscall.ERANGE
	}
	return n, err
}
