package imgtool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// Tool is one invocation of the program.
type Tool struct {
	// Name is what messages begin with.
	Name   string
	Stdout io.Writer
	Stderr io.Writer
	// DefaultFormat is that of images which are made, if none is named: raw for
	// qemu-img.
	DefaultFormat string

	objects *blockopt.Objects
}

// command is one of the program's commands.
type command struct {
	name     string
	synopsis string
	about    string
	flags    []flag
	// lastOperand says that the last argument is an operand, even with a - in front.
	lastOperand bool
	run         func(t *Tool, a *arguments) error
}

// takesOptions reports whether the command's -o has options of a format.
func (c *command) takesOptions() bool {
	return slices.ContainsFunc(c.flags, func(f flag) bool { return f.short == 'o' && f.arg == "OPTIONS" })
}

// looksShort reports whether an argument looks like an option of one letter, except -h.
func looksShort(arg string) bool {
	return len(arg) > 1 && arg[0] == '-' && arg[1] != '-' && arg != "-h"
}

// commands in the order of qemu-img's manual, which has all but explain.
func commands() []command {
	return []command{
		amendCommand, benchCommand, bitmapCommand, checkCommand, commitCommand, compareCommand, convertCommand,
		createCommand, ddCommand, explainCommand, infoCommand, mapCommand, measureCommand, rebaseCommand, resizeCommand, snapshotCommand,
	}
}

// Run carries out the command that args name, and returns the exit status.
func (t *Tool) Run(args []string) int {
	err := t.dispatch(args)
	var status *statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		if status.err != nil {
			t.complain(status.err)
		}
		return status.code
	}
	t.complain(err)
	return 1
}

func (t *Tool) dispatch(args []string) error {
	for len(args) > 0 {
		spec, rest, ok, err := takeTrace(args)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if args = rest; t.trace(spec) {
			return nil
		}
	}
	if len(args) == 0 {
		return usage("Not enough arguments")
	}
	switch name := args[0]; name {
	case "-h", "--help", "help":
		return t.help(args[1:])
	case "-V", "--version":
		_, err := fmt.Fprintln(t.Stdout, versionLine)
		return err
	default:
		for _, c := range commands() {
			if c.name == name {
				return t.runCommand(&c, args[1:])
			}
		}
		if strings.HasPrefix(name, "-") {
			return usage("unrecognized option '%s'", name)
		}
		return usage("Command not found: %s", name)
	}
}

// takeTrace takes the standard option -T off args.
func takeTrace(args []string) (spec string, rest []string, ok bool, err error) {
	name, spec, given := strings.Cut(args[0], "=")
	switch {
	case name == "--trace" && given:
		return spec, args[1:], true, nil
	case args[0] == "--trace", args[0] == "-T":
		if len(args) == 1 {
			return "", nil, false, usage("missing argument for option '%s'", args[0])
		}
		return args[1], args[2:], true, nil
	case strings.HasPrefix(args[0], "-T"):
		return args[0][2:], args[1:], true, nil
	}
	return "", args, false, nil
}

// trace does what -T asks for where there are no events to trace, and reports whether that was
// all.
func (t *Tool) trace(spec string) (listed bool) {
	listed, missing := blockopt.Trace(spec)
	if missing != "" {
		t.warn("%s", missing)
	}
	return listed
}

func (t *Tool) runCommand(c *command, args []string) error {
	var last []string
	if n := len(args) - 1; c.lastOperand && n >= 0 && looksShort(args[n]) {
		args, last = args[:n], args[n:]
	}
	a, err := parseArguments(c.flags, args)
	if err != nil {
		return err
	}
	a.operands = append(a.operands, last...)
	a.warn = func(text string) { t.warn("%s", text) }
	if a.has("help") {
		return t.commandHelp(c)
	}
	for _, l := range a.all("o") {
		if c.takesOptions() && !validList(l) {
			return fmt.Errorf("Invalid option list: %s", l)
		}
	}
	t.objects = blockopt.NewObjects()
	t.objects.Warn = a.warn
	for _, s := range a.all("object") {
		if err := t.objects.Add(s); err != nil {
			return err
		}
	}
	return c.run(t, a)
}

// statusError ends the program with a status of its own; err may be nil if all
// was said.
type statusError struct {
	code int
	err  error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// qemuImg is the name under which nothing is said that qemu-img does not say.
const qemuImg = "qemu-img"

// restated is an error in other words.
type restated struct {
	text string
	err  error
}

func (e *restated) Error() string { return e.text }

func (e *restated) Unwrap() error { return e.err }

// hintError is an error with more text for the user below it, printed as it is.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }

func (e *hintError) Unwrap() error { return e.err }

// hinted is err with a line of what can be done about it, if there is one.
func hinted(err error, hint string) error {
	if hint == "" {
		return err
	}
	return &hintError{err, hint + "\n"}
}

// complain prints an error as qemu-img does.
func (t *Tool) complain(err error) {
	var hint *hintError
	if errors.As(err, &hint) {
		fmt.Fprintf(t.Stderr, "%s: %s\n%s", t.Name, err, hint.hint)
		return
	}
	fmt.Fprintf(t.Stderr, "%s: %s\n", t.Name, err)
	var locked *qcow2.LockError
	if errors.As(err, &locked) && len(locked.Holders) > 0 && t.Name != qemuImg {
		fmt.Fprintf(t.Stderr, "%s: it is in use by %s\n", t.Name, strings.Join(locked.Holders, ", "))
	}
	var image *qcow2.ImageError
	if errors.As(err, &image) && image.Detail != "" && t.Name != qemuImg {
		fmt.Fprintf(t.Stderr, "%s: %s\n", t.Name, image.Detail)
	}
	var u usageError
	var size *sizeSyntaxError
	if errors.As(err, &size) {
		fmt.Fprintf(t.Stderr, "%s: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.\n", t.Name)
	}
	if errors.As(err, &u) {
		fmt.Fprintf(t.Stderr, "Try '%s --help' for more information\n", t.Name)
	}
}

// warn prints a warning.
func (t *Tool) warn(format string, args ...any) {
	fmt.Fprintf(t.Stderr, "%s: warning: %s\n", t.Name, fmt.Sprintf(format, args...))
}

// printf prints a result.
func (t *Tool) printf(format string, args ...any) { fmt.Fprintf(t.Stdout, format, args...) }

// reason is an error in the C library's words where it is one of the system, in
// its own words otherwise.
func reason(err error) string {
	var no syscall.Errno
	var path *fs.PathError
	var locked *qcow2.LockError
	var driver block.DriverError
	var image *qcow2.ImageError
	switch {
	case errors.Is(err, qcow2.ErrCorrupt): // what is wrong was said when it was found
		return errnoText(syscall.EIO)
	case errors.As(err, &image):
		return image.Problem
	case errors.As(err, &driver):
		return fmt.Sprintf("Unknown driver '%s'", string(driver))
	case errors.As(err, &locked):
		return lockText(locked)
	case errors.As(err, &no):
		return errnoText(no)
	case errors.Is(err, qcow2.ErrRange), errors.Is(err, block.ErrRange):
		return errnoText(syscall.EIO)
	case errors.As(err, &path):
		return capital(path.Err.Error())
	}
	return capital(err.Error())
}

// errnoText is strerror.
func errnoText(no syscall.Errno) string {
	switch no {
	case syscall.EIO:
		return "Input/output error"
	case syscall.EBUSY:
		return "Device or resource busy"
	}
	return capital(no.Error())
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
