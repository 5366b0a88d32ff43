package imgio

import (
	"fmt"
	"io"

	"github.com/govmm/govmm/internal/getopt"
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

// lettersOf are the options of a command in the form of getopt(3): letters, with a
// colon behind those that have a value.
func lettersOf(letters string) (list []getopt.Option) {
	for i := range len(letters) {
		if letters[i] == ':' {
			list[len(list)-1].Value = true
		} else {
			list = append(list, getopt.Option{Letter: letters[i]})
		}
	}
	return list
}

// parse takes the options out of args. What is wrong with them is printed after name.
func parse(name string, args []string, options []getopt.Option, stderr io.Writer) (f flags, ok bool) {
	var err error
	f.args, err = getopt.Parse(options, args, func(o *getopt.Option, value string) error {
		f.seen = append(f.seen, flag{o.Letter, value})
		return nil
	})
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	return f, err == nil
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
