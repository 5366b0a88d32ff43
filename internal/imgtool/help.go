package imgtool

import (
	"fmt"
	"strings"
)

// versionLine is the version of qemu-img whose words these are.
const versionLine = "qemu-img version 7.2 (govmm)"

// help prints what there is, or the page of one command.
func (t *Tool) help(args []string) error {
	if len(args) > 0 {
		for _, c := range commands() {
			if c.name == args[0] {
				return t.commandHelp(&c)
			}
		}
		return usage("Command not found: %s", args[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nusage: %s [standard options] command [command options]\nWork with disk images.\n\nCommands:\n", versionLine, t.Name)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.about)
	}
	fmt.Fprintf(&b, "\n\"%s COMMAND --help\" says more of one.\n\nSupported formats: luks null-co qcow2 raw\n", t.Name)
	t.printf("%s", b.String())
	return nil
}

// commandHelp is the manual page of a command.
func (t *Tool) commandHelp(c *command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s %s %s\n\n%s.\n\nOptions:\n", t.Name, c.name, c.synopsis, capital(c.about))
	for _, f := range append(c.flags[:len(c.flags):len(c.flags)], flagHelp) {
		fmt.Fprintf(&b, "  %-28s %s\n", f.usage(), f.help)
	}
	t.printf("%s", b.String())
	return nil
}

// usage is how a flag is written.
func (f *flag) usage() string {
	var names []string
	if f.short != 0 {
		names = append(names, "-"+string(f.short))
	}
	if f.long != "" {
		names = append(names, "--"+f.long)
	}
	s := strings.Join(names, ", ")
	switch {
	case f.arg == "":
	case f.long != "":
		s += "=" + f.arg
	default:
		s += " " + f.arg
	}
	return s
}

// Completions are the words that may come next on a command line: commands, or
// the long options of one.
func Completions(args []string) (words []string) {
	for _, c := range commands() {
		switch {
		case len(args) == 0:
			words = append(words, c.name)
		case c.name == args[0]:
			for _, f := range c.flags {
				if f.long != "" {
					words = append(words, "--"+f.long)
				}
			}
		}
	}
	return words
}
