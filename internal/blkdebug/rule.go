package blkdebug

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// Action is what a rule does when its event comes.
type Action uint8

const (
	InjectError Action = iota // I/O from then on fails, until a rule of another event says otherwise
	SetState                  // the state becomes NewState
	suspend                   // the request waits; see Debug.Break
)

// IOType is a set of kinds of I/O.
type IOType uint8

const (
	Read IOType = 1 << iota
	Write
	WriteZeroes
	Discard
	Flush
	BlockStatus // never comes
	defaultIO   = Read | Write | WriteZeroes | Discard | Flush
)

// Rule is one rule. The zero values of its fields are not always the defaults of
// the configuration file: see ParseConfig.
type Rule struct {
	Action Action
	Event  qcow2.Event
	State  int // the rule counts in this state only; 0: in every one

	NewState int // of SetState

	// The rest is of InjectError.
	IO     IOType
	Errno  syscall.Errno // 0: no error
	Sector int64         // only I/O that touches this sector of the file; -1: any
	Once   bool          // the rule ends with the first error

	tag string // of suspend
}

// ParseConfig reads rules from a configuration file in QEMU's syntax:
//
//	[inject-error]
//	event = "l2_update"   # when
//	state = "1"           # if the state is this; default: in every one
//	iotype = "write"      # read, write, write-zeroes, discard or flush; default: all
//	errno = "28"          # default: 5, EIO
//	sector = "0"          # of the file; default: any
//	once = "on"           # default: off
//	immediately = "on"
//
//	[set-state]
//	event = "l2_update"
//	state = "1"
//	new_state = "2"
//
// The state is 1 in the beginning. name is for error messages.
func ParseConfig(r io.Reader, name string) ([]Rule, error) {
	var rules []Rule
	var group string
	var options map[string]string
	end := func() error {
		if group == "" {
			return nil
		}
		rule, err := newRule(group, options)
		rules = append(rules, rule)
		return err
	}
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		fail := func(err error) error { return &lineError{name, n, err} }
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			if err := end(); err != nil {
				return nil, fail(err)
			}
			words := strings.Fields(strings.Trim(line, "[]"))
			if line[len(line)-1] != ']' || len(words) == 0 || len(words) > 2 {
				return nil, fail(ruleError("parse error"))
			}
			group, options = words[0], make(map[string]string)
			if group != "inject-error" && group != "set-state" {
				return nil, fail(ruleError(fmt.Sprintf("There is no option group '%s'", group)))
			}
		default:
			key, value, ok := strings.Cut(line, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			switch {
			case group == "":
				return nil, fail(ruleError("no group defined"))
			case !ok || len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"':
				return nil, fail(ruleError("parse error"))
			}
			options[key] = value[1 : len(value)-1]
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := end(); err != nil {
		return nil, &lineError{name, 0, err}
	}
	return rules, nil
}

// ParseOptions takes rules out of options such as inject-error.0.event=l2_load or, where it
// is the only one of its kind, inject-error.event=l2_load, and returns the other options.
func ParseOptions(options map[string]string) (rules []Rule, rest map[string]string, err error) {
	rest = make(map[string]string)
	lists := map[string]map[int]map[string]string{"inject-error": {}, "set-state": {}}
	for key, value := range options {
		words := strings.SplitN(key, ".", 3)
		list := lists[words[0]]
		if list == nil || len(words) < 2 {
			rest[key] = value
			continue
		}
		if len(words) == 2 { // a rule alone has no number
			words = []string{words[0], "0", words[1]}
		}
		i, err := strconv.Atoi(words[1])
		if err != nil || i < 0 {
			return nil, nil, fmt.Errorf("blkdebug: %q: a number is needed after %s", key, words[0])
		}
		if list[i] == nil {
			list[i] = make(map[string]string)
		}
		list[i][words[2]] = value
	}
	for _, group := range []string{"inject-error", "set-state"} {
		for _, i := range slices.Sorted(maps.Keys(lists[group])) {
			rule, err := newRule(group, lists[group][i])
			if err != nil {
				return nil, nil, err
			}
			rules = append(rules, rule)
		}
	}
	return rules, rest, nil
}

// TakeOptions takes the rules out of options whose names have a prefix: those of
// ParseOptions, behind those in the file that the option config names.
func TakeOptions(options map[string]string, prefix string) (rules []Rule, err error) {
	if config, ok := options[prefix+"config"]; ok {
		delete(options, prefix+"config")
		f, err := os.Open(config)
		if err != nil {
			return nil, &configError{err}
		}
		defer f.Close()
		rules, err = ParseConfig(f, config)
		if line := (*lineError)(nil); errors.As(err, &line) { // QEMU does not say which
			return nil, line.err
		} else if err != nil {
			return nil, err
		}
	}
	own := make(map[string]string)
	for key, value := range options {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			own[rest] = value
		}
	}
	list, rest, err := ParseOptions(own)
	for key := range own {
		if _, left := rest[key]; !left {
			delete(options, prefix+key)
		}
	}
	return append(rules, list...), err
}

// configError says in QEMU's words that there is no file with rules.
type configError struct{ err error }

func (e *configError) Error() string {
	text := e.err.Error()
	if no := syscall.Errno(0); errors.As(e.err, &no) {
		text = strings.ToUpper(no.Error()[:1]) + no.Error()[1:]
	}
	return "Could not read blkdebug config file: " + text
}

// ruleError says what is wrong with a rule, in QEMU's words where it has some.
type ruleError string

func (e ruleError) Error() string { return string(e) }

// lineError says where in a configuration file it is; line 0 is its end.
type lineError struct {
	file string
	line int
	err  error
}

func (e *lineError) Error() string {
	if e.line == 0 {
		return fmt.Sprintf("%s: %v", e.file, e.err)
	}
	return fmt.Sprintf("%s:%d: %v", e.file, e.line, e.err)
}

// Unwrap returns what is wrong.
func (e *lineError) Unwrap() error { return e.err }

// newRule makes a rule of its options.
func newRule(group string, options map[string]string) (Rule, error) {
	r := Rule{Action: InjectError, IO: defaultIO, Errno: syscall.EIO, Sector: -1}
	if group == "set-state" {
		r = Rule{Action: SetState}
	}
	if _, ok := options["event"]; !ok {
		return r, ruleError("Missing event name for rule")
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if err := r.set(key, options[key]); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *Rule) set(key, value string) (err error) {
	var n int64
	number := func(most int64) bool {
		n, err = strconv.ParseInt(value, 0, 64)
		if err != nil || n < 0 && key != "sector" || n < -1 || n > most {
			err = ruleError(fmt.Sprintf("Parameter '%s' expects a number", key))
		}
		return err == nil
	}
	inject := r.Action == InjectError
	ok := false
	switch {
	case key == "event":
		if r.Event, ok = qcow2.ParseEvent(value); !ok {
			err = ruleError("invalid parameter value: " + value)
		}
	case key == "state" && number(1<<31-1):
		r.State = int(n)
	case key == "new_state" && !inject && number(1<<31-1):
		r.NewState = int(n)
	case key == "errno" && inject && number(4095):
		r.Errno = syscall.Errno(n)
	case key == "sector" && inject && number(1<<54):
		r.Sector = n
	case key == "iotype" && inject:
		if r.IO, ok = ioTypes()[value]; !ok {
			err = ruleError("invalid parameter value: " + value)
		}
	case key == "once" && inject:
		r.Once, err = parseSwitch(key, value)
	case key == "immediately" && inject:
		_, err = parseSwitch(key, value)
	case err == nil:
		section := "inject-error"
		if !inject {
			section = "set-state"
		}
		err = ruleError(fmt.Sprintf("[%s] section doesn't support the option '%s'", section, key))
	}
	return err
}

func ioTypes() map[string]IOType {
	return map[string]IOType{
		"read": Read, "write": Write, "write-zeroes": WriteZeroes, "discard": Discard, "flush": Flush, "block-status": BlockStatus,
	}
}

func parseSwitch(key, value string) (bool, error) {
	switch value {
	case "on", "yes", "true", "y":
		return true, nil
	case "off", "no", "false", "n":
		return false, nil
	}
	return false, ruleError(fmt.Sprintf("Parameter '%s' expects 'on' or 'off'", key))
}
