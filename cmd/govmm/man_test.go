package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/imgio"
	"github.com/govmm/govmm/internal/imgtool"
	"github.com/govmm/govmm/internal/nbdtool"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManPages looks for every command and every option in the manual pages, and
// lets man's own formatter read them.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if status, _, stderr := govmm("man", dir); status != 0 {
		t.Fatal(stderr)
	}
	has := func(command, text string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, manName(command)))
		if err != nil || !strings.Contains(string(b), roff(text)) {
			t.Errorf("page of %q does not have %q: %v", command, text, err)
		}
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		has(cmd.CommandPath(), cmd.Short)
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !cmd.DisableFlagParsing {
				has(cmd.CommandPath(), "--"+f.Name)
			}
		})
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk((&app{}).rootCommand())
	words := imgtool.Completions(nil)
	if len(words) == 0 || len(imgio.Complete("")) == 0 {
		t.Fatal("no commands")
	}
	for _, name := range words {
		has("govmm img", "govmm-img-"+name+"(1)")
		for _, option := range imgtool.Completions([]string{name}) {
			has("govmm img "+name, option)
		}
	}
	for _, name := range imgio.Complete("") {
		has("govmm io", name)
	}
	for _, option := range nbdtool.Manual() {
		has(qemuNBD, option[0])
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		return // what is above holds without a formatter
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-z", "-ww"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}
