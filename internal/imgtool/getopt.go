package imgtool

import (
	"errors"
	"strings"
)

// flag is an option of a command.
type flag struct {
	short byte   // 0: none
	long  string // "": none
	arg   string // what its argument is called in help; "" takes none
	help  string
}

// name is what commands ask for: the long name or the letter.
func (f *flag) name() string {
	if f.long != "" {
		return f.long
	}
	return string(f.short)
}

// Flags that many commands have.
var (
	flagHelp      = flag{'h', "help", "", "say what the command does"}
	flagObject    = flag{0, "object", "OBJECT", "a secret, as secret,id=NAME,file=FILE"}
	flagImageOpts = flag{0, "image-opts", "", "FILE is a list of options, not a name"}
	flagShare     = flag{'U', "force-share", "", "open images also when others write to them"}
	flagFormat    = flag{'f', "", "FMT", "format of the image"}
	flagQuiet     = flag{'q', "", "", "print nothing but errors"}
	flagProgress  = flag{'p', "", "", "show the progress"}
	flagCache     = flag{'t', "", "CACHE", "cache mode of the image that is written"}
	flagOutput    = flag{0, "output", "OFMT", "human or json"}
)

// arguments are the options of a command line in their order, and its operands.
type arguments struct {
	options  []option
	operands []string
}

// option is a flag with its argument.
type option struct{ name, value string }

func (a *arguments) has(name string) bool {
	for _, o := range a.options {
		if o.name == name {
			return true
		}
	}
	return false
}

// get is the argument of the last such option, or otherwise.
func (a *arguments) get(name, otherwise string) string {
	for _, o := range a.options {
		if o.name == name {
			otherwise = o.value
		}
	}
	return otherwise
}

// all are the arguments of all such options.
func (a *arguments) all(name string) (list []string) {
	for _, o := range a.options {
		if o.name == name {
			list = append(list, o.value)
		}
	}
	return list
}

// parseArguments reads a command line as getopt_long does: options and operands
// in any order, long names abbreviated, letters in clusters.
func parseArguments(flags []flag, args []string) (*arguments, error) {
	flags = append(flags[:len(flags):len(flags)], flagHelp)
	a := new(arguments)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			a.operands = append(a.operands, args...)
			return a, nil
		case strings.HasPrefix(arg, "--"):
			name, value, given := strings.Cut(arg[2:], "=")
			f, err := findLong(flags, name)
			if err != nil {
				return nil, err
			}
			switch {
			case f.arg == "" && given:
				return nil, usage("unrecognized option '%s'", arg)
			case f.arg != "" && !given:
				if len(args) == 0 {
					return nil, usage("missing argument for option '%s'", arg)
				}
				value, args = args[0], args[1:]
			}
			a.options = append(a.options, option{f.name(), value})
		case strings.HasPrefix(arg, "-") && arg != "-":
			for i := 1; i < len(arg); i++ {
				f := findShort(flags, arg[i])
				if f == nil {
					return nil, usage("unrecognized option '%s'", arg)
				}
				if f.arg == "" {
					a.options = append(a.options, option{f.name(), ""})
					continue
				}
				value := arg[i+1:]
				if value == "" {
					if len(args) == 0 {
						return nil, usage("missing argument for option '%s'", arg)
					}
					value, args = args[0], args[1:]
				}
				a.options = append(a.options, option{f.name(), value})
				break
			}
		default:
			a.operands = append(a.operands, arg)
		}
	}
	return a, nil
}

func findShort(flags []flag, c byte) *flag {
	for i := range flags {
		if flags[i].short == c {
			return &flags[i]
		}
	}
	return nil
}

// findLong finds a long option by its name or by the beginning of only one.
func findLong(flags []flag, name string) (*flag, error) {
	var found *flag
	for i := range flags {
		f := &flags[i]
		switch {
		case f.long == "" || !strings.HasPrefix(f.long, name):
		case f.long == name:
			return f, nil
		case found != nil:
			return nil, usage("unrecognized option '--%s'", name)
		default:
			found = f
		}
	}
	if found == nil || name == "" {
		return nil, usage("unrecognized option '--%s'", name)
	}
	return found, nil
}

// oneImage is the single operand of commands that take one.
func (a *arguments) oneImage() (string, error) {
	if len(a.operands) != 1 {
		return "", usage("Expecting one image file name")
	}
	return a.operands[0], nil
}

// errOutput ends in a full stop, as qemu-img's does.
var errOutput = errors.New("--output must be used with human or json as argument" + ".")

// json reports whether --output asks for JSON.
func (a *arguments) json() (bool, error) {
	switch v := a.get("output", "human"); v {
	case "human":
		return false, nil
	case "json":
		return true, nil
	}
	return false, errOutput
}
