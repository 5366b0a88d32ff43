package main

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Components that log.
const (
	logVMM        = "vmm"
	logController = "megasas"
	logControl    = "qmp"
)

func logComponents() []string { return []string{logController, logControl, logVMM} }

// logConfig says what is logged, and how.
type logConfig struct {
	all    slog.Level            // of components that are not named
	levels map[string]slog.Level // by component; nil for none
	json   bool
}

// defaultLogLevel shows what a person should know who runs a machine.
const defaultLogLevel = slog.LevelWarn

// logger is the logger of a component.
func (c logConfig) logger(component string, w io.Writer) *slog.Logger {
	level, ok := c.levels[component]
	if !ok {
		level = c.all
	}
	options := &slog.HandlerOptions{Level: level}
	if c.json {
		return slog.New(slog.NewJSONHandler(w, options)).With("component", component)
	}
	return slog.New(slog.NewTextHandler(w, options)).With("component", component)
}

// args are the flags that say so.
func (c logConfig) args() []string {
	var args []string
	if level := (&logLevelFlag{c.all, c.levels}).String(); level != "" {
		args = append(args, "--log-level", level)
	}
	if c.json {
		args = append(args, "--log-format", "json")
	}
	return args
}

// logFlags are the flags about logs.
type logFlags struct {
	level  logLevelFlag
	format choice
}

func (f *logFlags) register(cmd *cobra.Command) {
	f.level = logLevelFlag{all: defaultLogLevel}
	f.format = choice{value: "text", allowed: []string{"text", "json"}}
	cmd.Flags().Var(&f.level, "log-level", "what to log: debug, info, warn or error, for all or by component, as in vmm=debug,megasas=info")
	cmd.Flags().Var(&f.format, "log-format", "how to log")
	f.format.complete(cmd, "log-format")
	if err := cmd.RegisterFlagCompletionFunc("log-level", completeLogLevel); err != nil {
		panic(err) // no such flag: known at the first run
	}
}

func (f *logFlags) config() logConfig {
	return logConfig{f.level.all, f.level.levels, f.format.value == "json"}
}

// logLevelFlag is the value of --log-level.
type logLevelFlag struct {
	all    slog.Level
	levels map[string]slog.Level
}

func (*logLevelFlag) Type() string { return "LEVEL|COMPONENT=LEVEL,..." }

// String is what Set takes, or nothing for the default.
func (f *logLevelFlag) String() string {
	var words []string
	if f.all != defaultLogLevel {
		words = append(words, strings.ToLower(f.all.String()))
	}
	for _, component := range logComponents() {
		if level, ok := f.levels[component]; ok {
			words = append(words, component+"="+strings.ToLower(level.String()))
		}
	}
	return strings.Join(words, ",")
}

func logLevels() []string { return []string{"debug", "info", "warn", "error"} }

// Set reads a value.
func (f *logLevelFlag) Set(text string) error {
	parsed := logLevelFlag{all: defaultLogLevel}
	for _, word := range strings.Split(text, ",") {
		component, name, named := strings.Cut(word, "=")
		if !named {
			component, name = "", word
		}
		var level slog.Level
		if !slices.Contains(logLevels(), name) || level.UnmarshalText([]byte(name)) != nil {
			return fmt.Errorf("%q is no level: must be %s", name, orList(logLevels()))
		}
		switch {
		case !named:
			parsed.all = level
		case !slices.Contains(logComponents(), component):
			return fmt.Errorf("%q is no component: must be %s", component, orList(logComponents()))
		default:
			if parsed.levels == nil {
				parsed.levels = map[string]slog.Level{}
			}
			parsed.levels[component] = level
		}
	}
	*f = parsed
	return nil
}

// completeLogLevel completes levels, and components before them.
func completeLogLevel(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	done, last := "", text
	if i := strings.LastIndexAny(text, ",="); i >= 0 {
		done, last = text[:i+1], text[i+1:]
	}
	var options []string
	for _, level := range logLevels() {
		if strings.HasPrefix(level, last) {
			options = append(options, done+level)
		}
	}
	for _, component := range logComponents() {
		if !strings.HasSuffix(done, "=") && strings.HasPrefix(component, last) {
			options = append(options, done+component+"=")
		}
	}
	return options, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
