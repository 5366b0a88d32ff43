// Package doctable keeps tables in documents true: a test makes a table of what is
// in the code, and the document must have the same.
//
// In the document a table stands between two lines of their own, <!-- table NAME -->
// and <!-- end -->. With the environment variable GOVMM_UPDATE_DOCS set, the document
// is changed instead.
package doctable

import (
	"os"
	"strings"
	"testing"
)

// Table is a table in Markdown: a header and rows.
type Table struct{ lines []string }

// New returns a table with the names of its columns.
func New(columns ...string) *Table {
	t := new(Table)
	t.Row(columns...)
	t.Row(strings.Split(strings.Repeat("---,", len(columns)-1)+"---", ",")...)
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |")
}

// Check compares the table with the one of its name in a file.
func (t *Table) Check(tb testing.TB, file, name string) {
	tb.Helper()
	p, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(p), "<!-- table "+name+" -->\n")
	have, after, ended := strings.Cut(rest, "<!-- end -->")
	if !begun || !ended {
		tb.Fatalf("%s has no table %q", file, name)
	}
	want := strings.Join(t.lines, "\n") + "\n"
	if have == want {
		return
	}
	if os.Getenv("GOVMM_UPDATE_DOCS") != "" {
		text := before + "<!-- table " + name + " -->\n" + want + "<!-- end -->" + after
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	tb.Errorf("%s: table %q is not what the code has (GOVMM_UPDATE_DOCS=1 go test changes it); it should be\n%s", file, name, want)
}
