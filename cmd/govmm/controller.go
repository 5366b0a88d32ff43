package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/govmm/govmm/megasas"
	"github.com/spf13/cobra"
)

// controllerFlag is the value of --controller.
type controllerFlag struct {
	text  string // as it was given
	card  string // a key of cards; empty is the usual one
	nvram string // file, or empty
	// battery is how the battery is when the machine starts.
	battery megasas.Battery
	// faults is a file with what the controller does wrong, or empty.
	faults string
}

// cards are the controllers that there are.
var cards = map[string]func() megasas.Personality{
	"9260-8i": megasas.SAS9260,
	"8708em2": megasas.SAS8708EM2,
	"h700":    megasas.PERCH700,
	"h800":    megasas.PERCH800,
}

func (f *controllerFlag) String() string { return f.text }
func (f *controllerFlag) Type() string   { return "KEY=VALUE,..." }

func (f *controllerFlag) Set(text string) error {
	c := controllerFlag{text: text}
	for _, element := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(element, "=")
		if !ok || value == "" {
			return fmt.Errorf("%q is not KEY=VALUE", element)
		}
		switch key {
		case "bbu":
			states := megasas.BatteryStates()
			b, ok := states[value]
			if !ok {
				return fmt.Errorf("bbu=%s: must be %s", value, orList(slices.Sorted(maps.Keys(states))))
			}
			c.battery = b
		case "card":
			if cards[value] == nil {
				return fmt.Errorf("card=%s: must be %s", value, orList(slices.Sorted(maps.Keys(cards))))
			}
			c.card = value
		case "nvram":
			c.nvram = value
		case "faults":
			c.faults = value
		default:
			return fmt.Errorf("unknown key %q: must be bbu, card, faults or nvram", key)
		}
	}
	*f = c
	return nil
}

// config is the controller with its card and its NVRAM, without drives.
func (f *controllerFlag) config() megasas.Config {
	c := megasas.Config{Battery: f.battery}
	if f.card != "" {
		c.Profile = cards[f.card]()
	}
	if f.nvram != "" {
		c.NVRAM = megasas.NVRAMFile(f.nvram)
	}
	return c
}

// arrange has the controller do wrong what the file of faults says.
func (f *controllerFlag) arrange(c *megasas.Controller) error {
	if f.faults == "" {
		return nil
	}
	file, err := os.Open(f.faults)
	if err != nil {
		return fmt.Errorf("--controller: faults: %w", err)
	}
	defer file.Close()
	if err := c.Faults().Script(file); err != nil {
		return fmt.Errorf("--controller: faults=%s: %w", f.faults, err)
	}
	return nil
}

// completeController completes the keys of --controller, and files.
func completeController(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	done, last := "", text
	if i := strings.LastIndexByte(text, ','); i >= 0 {
		done, last = text[:i+1], text[i+1:]
	}
	var options []string
	for _, key := range []string{"faults=", "nvram="} {
		if prefix, ok := strings.CutPrefix(last, key); ok {
			for _, file := range completeFile(prefix) {
				options = append(options, done+key+file)
			}
			return options, cobra.ShellCompDirectiveNoSpace
		}
	}
	all := []string{"faults=", "nvram="}
	for _, card := range slices.Sorted(maps.Keys(cards)) {
		all = append(all, "card="+card)
	}
	for _, state := range slices.Sorted(maps.Keys(megasas.BatteryStates())) {
		all = append(all, "bbu="+state)
	}
	for _, o := range all {
		if strings.HasPrefix(o, last) {
			options = append(options, done+o)
		}
	}
	return options, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
