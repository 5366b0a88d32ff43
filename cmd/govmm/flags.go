package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be %s", orList(c.allowed))
	}
	c.value = s
	return nil
}

// complete lets the shell complete the words.
func (c *choice) complete(cmd *cobra.Command, flag string) {
	fixed := cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, fixed); err != nil {
		panic(err) // no such flag, or registered twice: known at the first run
	}
}

// orList joins words as in "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// byteSize is a flag that takes a number of bytes with a unit, as 512M.
type byteSize struct {
	bytes uint64
	unit  uint64 // of a number without one
}

// String is what Set takes.
func (s *byteSize) String() string {
	if s.unit > 1 && s.bytes%1024 != 0 {
		return formatSize(s.bytes) + "B"
	}
	return formatSize(s.bytes)
}

func (s *byteSize) Type() string { return "size" }

func (s *byteSize) Set(text string) error {
	n, err := parseSize(text, s.unit)
	if err != nil {
		return err
	}
	s.bytes = n
	return nil
}

// sizeUnits are powers of 1024, by the letters that QEMU's tools take.
const sizeUnits = "BKMGTPE"

// parseSize reads a size such as 512M, 1.5G or, in the given unit, 512. The
// result is rounded to whole bytes and fits an int64.
func parseSize(text string, unit uint64) (uint64, error) {
	const form = "a size is a number with a unit K, M, G, T, P or E (of 1024 and its powers), as in 512M"
	number := text
	if n := len(text); n > 0 {
		if i := strings.IndexByte(sizeUnits, text[n-1]&^0x20); i >= 0 {
			unit, number = 1<<(10*i), text[:n-1]
		}
	}
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q: %s", text, form)
	}
	if n, err := strconv.ParseUint(number, 10, 63); err == nil {
		if n > math.MaxInt64/unit {
			return 0, fmt.Errorf("%q: too large", text)
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %s", text, form)
	}
	if f *= float64(unit); f >= math.MaxInt64 {
		return 0, fmt.Errorf("%q: too large", text)
	}
	return uint64(math.Round(f)), nil
}

// formatSize writes a size in the largest unit that needs no fraction.
func formatSize(n uint64) string {
	i := 0
	for n > 0 && n%1024 == 0 && i < len(sizeUnits)-1 {
		n /= 1024
		i++
	}
	if i == 0 {
		return strconv.FormatUint(n, 10)
	}
	return strconv.FormatUint(n, 10) + sizeUnits[i:i+1]
}
