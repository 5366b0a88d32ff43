// Package getopt reads command lines in the manner of the GNU C library's getopt(3) and
// getopt_long(3), and finds the same faults in its words: options and operands in any
// order, long names cut short, letters in clusters, and nothing but operands behind "--".
package getopt

import (
	"fmt"
	"strings"
)

// Option is an option that a command line may have.
type Option struct {
	Letter byte   // 0: none
	Long   string // "": none
	Value  bool   // whether it takes a value
}

// Problem is what can be wrong with an option.
type Problem uint8

const (
	// Unknown is an option that there is not.
	Unknown Problem = iota
	// Ambiguous is the beginning of several long names.
	Ambiguous
	// Unwanted is a value that the option does not take.
	Unwanted
	// Missing is a value that is not there.
	Missing
)

// Error is an option that can't be read. Its text is the C library's, without the name
// of the program in front.
type Error struct {
	Problem  Problem
	Arg      string   // as it stands on the command line
	Letter   byte     // of the option; 0 if it was given by a long name
	Name     string   // its long name: whole, or as far as it was given if it is not known
	Possible []string // the long names that it could be, if it is ambiguous
}

func (e *Error) Error() string {
	switch {
	case e.Problem == Ambiguous:
		return fmt.Sprintf("option '%s' is ambiguous; possibilities: '--%s'", e.Arg, strings.Join(e.Possible, "' '--"))
	case e.Problem == Unwanted:
		return fmt.Sprintf("option '--%s' doesn't allow an argument", e.Name)
	case e.Problem == Missing && e.Letter != 0:
		return fmt.Sprintf("option requires an argument -- '%c'", e.Letter)
	case e.Problem == Missing:
		return fmt.Sprintf("option '--%s' requires an argument", e.Name)
	case e.Letter != 0:
		return fmt.Sprintf("invalid option -- '%c'", e.Letter)
	}
	return fmt.Sprintf("unrecognized option '%s'", e.Arg)
}

// Parse hands the options of a command line to take, in their order, and returns its
// operands. It ends with the first error, its own being an [*Error]. Where no option has a
// long name "--word" is letters, as for getopt(3).
func Parse(options []Option, args []string, take func(o *Option, value string) error) (operands []string, err error) {
	p := parser{options: options, take: take}
	for _, o := range options {
		p.long = p.long || o.Long != ""
	}
	for len(args) > 0 {
		arg := args[0]
		p.rest = args[1:]
		switch {
		case arg == "--":
			return append(operands, p.rest...), nil
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		case p.long && arg[1] == '-':
			err = p.word(arg)
		default:
			err = p.letters(arg)
		}
		if err != nil {
			return nil, err
		}
		args = p.rest
	}
	return operands, nil
}

// parser is one run of Parse.
type parser struct {
	options []Option
	long    bool // whether there are long names
	take    func(o *Option, value string) error
	rest    []string // arguments that were not looked at
}

// next takes the argument behind an option as its value.
func (p *parser) next() (value string, ok bool) {
	if len(p.rest) == 0 {
		return "", false
	}
	value, p.rest = p.rest[0], p.rest[1:]
	return value, true
}

// word reads an option that is given by its long name.
func (p *parser) word(arg string) error {
	name, value, given := strings.Cut(arg[len("--"):], "=")
	o, err := p.find(name, arg)
	switch {
	case err != nil:
		return err
	case given && !o.Value:
		return &Error{Problem: Unwanted, Arg: arg, Name: o.Long}
	case o.Value && !given:
		if value, given = p.next(); !given {
			return &Error{Problem: Missing, Arg: arg, Name: o.Long}
		}
	}
	return p.take(o, value)
}

// find finds an option by its long name, or by a part that no other begins with.
func (p *parser) find(name, arg string) (*Option, error) {
	var found *Option
	var possible []string
	for i := range p.options {
		o := &p.options[i]
		switch {
		case o.Long == "" || name == "":
		case o.Long == name:
			return o, nil
		case strings.HasPrefix(o.Long, name):
			found, possible = o, append(possible, o.Long)
		}
	}
	switch len(possible) {
	case 0:
		return nil, &Error{Problem: Unknown, Arg: arg, Name: name}
	case 1:
		return found, nil
	}
	return nil, &Error{Problem: Ambiguous, Arg: arg, Name: name, Possible: possible}
}

// letters reads options that are given by letters.
func (p *parser) letters(arg string) error {
	for rest := arg[1:]; rest != ""; {
		c := rest[0]
		rest = rest[1:]
		o := p.letter(c)
		if o == nil {
			return &Error{Problem: Unknown, Arg: arg, Letter: c}
		}
		value := ""
		if o.Value {
			value, rest = rest, ""
			if value == "" {
				var ok bool
				if value, ok = p.next(); !ok {
					return &Error{Problem: Missing, Arg: arg, Letter: c}
				}
			}
		}
		if err := p.take(o, value); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) letter(c byte) *Option {
	for i := range p.options {
		if p.options[i].Letter == c && c != 0 {
			return &p.options[i]
		}
	}
	return nil
}
