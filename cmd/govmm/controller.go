package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/govmm/govmm/internal/block"
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
	// learn is how long its learn cycles take; 0 is as a real one's.
	learn time.Duration
	// faults is a file with what the controller does wrong, or empty.
	faults string
	// trace is a file to write what the frames are to, or empty.
	trace     string
	traceJSON bool
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
	seen := map[string]bool{}
	for _, element := range block.SplitCommas(text) {
		key, value, ok := strings.Cut(element, "=")
		switch {
		case !ok || value == "":
			return fmt.Errorf("%q is not KEY=VALUE", element)
		case seen[key]:
			return fmt.Errorf("%s is given twice", key)
		}
		seen[key] = true
		switch key {
		case "bbu":
			states := megasas.BatteryStates()
			b, ok := states[value]
			if !ok {
				return fmt.Errorf("bbu=%s: must be %s", value, orList(slices.Sorted(maps.Keys(states))))
			}
			c.battery = b
		case "learn":
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 {
				return fmt.Errorf("learn=%s: must be a time, as 10m or 6h", value)
			}
			c.learn = d
		case "card":
			if cards[value] == nil {
				return fmt.Errorf("card=%s: must be %s", value, orList(slices.Sorted(maps.Keys(cards))))
			}
			c.card = value
		case "nvram":
			c.nvram = value
		case "faults":
			c.faults = value
		case "trace":
			c.trace = value
		case "trace-format":
			if err := either(key, value, &c.traceJSON, "text", "json"); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown key %q: must be bbu, card, faults, learn, nvram, trace or trace-format", key)
		}
	}
	if seen["trace-format"] && c.trace == "" {
		return errors.New("trace-format: there is no trace=FILE")
	}
	*f = c
	return nil
}

// config is the controller with its card and its NVRAM, without drives.
func (f *controllerFlag) config() megasas.Config {
	c := megasas.Config{Battery: f.battery}
	if f.learn > 0 { // a third of it to empty the battery
		c.Learn = megasas.LearnTimes{Discharge: max(f.learn/3, 1), Charge: f.learn - f.learn/3}
	}
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

// openTrace opens what the controller's frames are written to.
func (c *closers) openTrace(f controllerFlag, log *slog.Logger) (megasas.Observer, error) {
	if f.trace == "" {
		return nil, nil
	}
	file, err := os.Create(f.trace)
	if err != nil {
		return nil, fmt.Errorf("--controller: trace: %w", err)
	}
	c.add(file.Close)
	t := megasas.NewTrace(file, megasas.TraceConfig{
		JSON:   f.traceJSON,
		Failed: func(err error) { log.Warn("the trace ends", "err", err) },
	})
	c.add(t.Close)
	return t, nil
}

// completeController completes the keys of --controller, and files.
func completeController(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	done, last := "", text
	if i := strings.LastIndexByte(text, ','); i >= 0 {
		done, last = text[:i+1], text[i+1:]
	}
	var options []string
	for _, key := range []string{"faults=", "nvram=", "trace="} {
		if prefix, ok := strings.CutPrefix(last, key); ok {
			for _, file := range completeFile(prefix) {
				options = append(options, done+key+file)
			}
			return options, cobra.ShellCompDirectiveNoSpace
		}
	}
	all := []string{"faults=", "learn=", "nvram=", "trace=", "trace-format=text", "trace-format=json"}
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
