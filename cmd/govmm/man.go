package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/govmm/govmm/internal/imgio"
	"github.com/govmm/govmm/internal/imgtool"
	"github.com/govmm/govmm/internal/nbdtool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand writes manual pages from what --help prints.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all commands to a directory",
		Hidden: true,
		Args:   arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for name, text := range manPages(cmd.Root()) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// manPages are the manual pages by their file names.
func manPages(root *cobra.Command) map[string]string {
	pages := make(map[string]string)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		pages[manName(cmd.CommandPath())] = commandPage(cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	walk(root)
	for _, m := range imgtool.Manuals() {
		title := "govmm img " + m.Name
		p := newPage(title, m.About)
		p.section("SYNOPSIS")
		p.text(title + " " + m.Synopsis)
		p.section("OPTIONS")
		for _, f := range m.Flags {
			p.item(f[0], f[1])
		}
		p.section("SEE ALSO")
		p.text("govmm-img(1)")
		pages[manName(title)] = p.String()
	}
	pages[manName(qemuNBD)] = qemuNBDPage()
	return pages
}

// qemuNBDPage is the page of what the program is under another name.
func qemuNBDPage() string {
	p := newPage(qemuNBD, nbdtool.About)
	p.section("SYNOPSIS")
	p.text(nbdtool.Synopsis)
	p.section("DESCRIPTION")
	p.text(nbdtool.Description)
	p.section("OPTIONS")
	for _, o := range nbdtool.Manual() {
		p.item(o[0], o[1])
	}
	p.section("SEE ALSO")
	p.text("govmm-nbd(1)")
	return p.String()
}

func manName(path string) string { return strings.ReplaceAll(path, " ", "-") + ".1" }

// commandPage is the page of a command that cobra knows.
func commandPage(cmd *cobra.Command) string {
	p := newPage(cmd.CommandPath(), cmd.Short)
	p.section("SYNOPSIS")
	p.text(cmd.UseLine())
	p.section("DESCRIPTION")
	if cmd.Long != "" {
		p.text(cmd.Long)
	} else {
		p.text(cmd.Short + ".")
	}
	cmd.InitDefaultHelpFlag()
	if cmd.Name() == "io" && cmd.DisableFlagParsing {
		p.section("OPTIONS")
		p.text(fmt.Sprintf(imgio.Usage, "govmm io"))
		p.section("COMMANDS")
		for _, m := range imgio.Manuals() {
			name := m.Name
			if m.Alias != "" {
				name += ", " + m.Alias
			}
			p.item(strings.TrimSpace(name+" "+m.Args), m.About+"\n"+m.Help)
		}
	} else {
		p.section("OPTIONS")
		cmd.NonInheritedFlags().VisitAll(p.flag)
		cmd.InheritedFlags().VisitAll(p.flag)
	}
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.text(cmd.Example)
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, cmd.Parent().CommandPath())
	}
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			also = append(also, c.CommandPath())
		}
	}
	if cmd.CommandPath() == "govmm img" {
		for _, m := range imgtool.Manuals() {
			also = append(also, "govmm img "+m.Name)
		}
	}
	if len(also) > 0 {
		p.section("SEE ALSO")
		p.text(strings.ReplaceAll(strings.Join(also, "(1)\n")+"(1)", " ", "-"))
	}
	return p.String()
}

// page is a manual page in the language of man(7).
type page struct{ strings.Builder }

func newPage(title, about string) *page {
	p := new(page)
	name := roff(strings.ReplaceAll(title, " ", "-"))
	fmt.Fprintf(p, ".TH \"%s\" 1 \"\" \"govmm\" \"govmm manual\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(strings.ReplaceAll(title, " ", "-")), name, roff(about))
	return p
}

func (p *page) section(name string) { fmt.Fprintf(p, ".SH %s\n", name) }

// text is printed as it is, line for line.
func (p *page) text(s string) { fmt.Fprintf(p, ".nf\n%s\n.fi\n", roff(strings.Trim(s, "\n"))) }

// item is a term and what it means.
func (p *page) item(term, meaning string) {
	fmt.Fprintf(p, ".TP\n.B %s\n", roff(term))
	p.text(meaning)
}

func (p *page) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	arg, meaning := pflag.UnquoteUsage(f)
	term := "--" + f.Name
	if f.Shorthand != "" {
		term = "-" + f.Shorthand + ", " + term
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
		meaning += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	p.item(strings.TrimSpace(term+" "+arg), meaning)
}

// roff escapes what has a meaning in a manual page's source.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
