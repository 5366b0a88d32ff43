package imgio

import (
	"fmt"
	"io"
	"strings"
)

// flags are the options of a command: the value of each letter that was given,
// in order of their appearance, "" for those without one.
type flags struct {
	seen []flag
	args []string // what is left
}

type flag struct {
	letter byte
	value  string
}

// getopt takes options out of args, wherever they stand, in the manner of C's
// function: letters names them, with a colon behind those that have a value.
func getopt(name string, args []string, letters string, stderr io.Writer) (flags, bool) {
	var f flags
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			f.args = append(f.args, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			f.args = append(f.args, arg)
			continue
		}
		for rest := arg[1:]; rest != ""; {
			c := rest[0]
			rest = rest[1:]
			i := strings.IndexByte(letters, c)
			switch {
			case c == ':' || i < 0:
				fmt.Fprintf(stderr, "%s: invalid option -- '%c'\n", name, c)
				return f, false
			case i+1 == len(letters) || letters[i+1] != ':':
				f.seen = append(f.seen, flag{c, ""})
				continue
			case rest == "" && len(args) == 0:
				fmt.Fprintf(stderr, "%s: option requires an argument -- '%c'\n", name, c)
				return f, false
			case rest == "":
				rest, args = args[0], args[1:]
			}
			f.seen = append(f.seen, flag{c, rest})
			rest = ""
		}
	}
	return f, true
}

// has reports whether a letter was given.
func (f *flags) has(letter byte) bool {
	for _, x := range f.seen {
		if x.letter == letter {
			return true
		}
	}
	return false
}
