package imgtool

import (
	"errors"

	"github.com/govmm/govmm/internal/getopt"
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
	flagObject    = flag{0, "object", "OBJECT", "a secret (secret,id=NAME,file=FILE) or TLS credentials (tls-creds-x509,id=NAME,dir=DIR); or the same as JSON"}
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
	warn     func(text string) // prints a warning
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

// parseArguments reads a command line. Its faults are told in qemu-img's words.
func parseArguments(flags []flag, args []string) (*arguments, error) {
	flags = append(flags[:len(flags):len(flags)], flagHelp)
	options := make([]getopt.Option, len(flags))
	for i, f := range flags {
		options[i] = getopt.Option{Letter: f.short, Long: f.long, Value: f.arg != ""}
	}
	a := new(arguments)
	operands, err := getopt.Parse(options, args, func(o *getopt.Option, value string) error {
		f := flag{short: o.Letter, long: o.Long}
		a.options = append(a.options, option{f.name(), value})
		return nil
	})
	var bad *getopt.Error
	if errors.As(err, &bad) {
		switch {
		case bad.Problem == getopt.Missing:
			return nil, usage("missing argument for option '%s'", bad.Arg)
		}
		return nil, usage("unrecognized option '%s'", bad.Arg)
	}
	a.operands = operands
	return a, err
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
