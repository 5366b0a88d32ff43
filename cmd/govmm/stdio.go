package main

import (
	"fmt"
	"os"

	"github.com/govmm/govmm/internal/console"
)

// openStdio makes the program's standard input and output the other end of a
// serial port. A terminal becomes the guest's own until the end is closed; quit
// is called when its user asks to stop the machine. Other input is passed on as
// it is, and its end means nothing to the machine.
func (a *app) openStdio(quit func()) (serialEnd, error) {
	end := serialEnd{in: a.stdin, out: a.stdout, close: nothing}
	file, ok := a.stdin.(*os.File)
	if !ok || !console.IsTerminal(file) {
		return end, nil
	}
	fmt.Fprintln(a.stderr, "govmm: Ctrl-A X stops the machine, Ctrl-A H helps")
	terminal, err := console.Open(file, terminalGuardName)
	if err != nil {
		return end, err
	}
	end.close = terminal.Close
	end.in = &console.Reader{Source: file, Do: func(c console.Command) {
		switch c {
		case console.Help:
			fmt.Fprint(a.stderr, console.HelpText)
		case console.Quit:
			quit()
		}
	}}
	return end, nil
}
