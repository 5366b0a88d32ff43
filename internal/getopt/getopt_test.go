package getopt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var letters = []Option{{Letter: 'a'}, {Letter: 'v', Value: true}}

var words = append([]Option{
	{Letter: 'q', Long: "quiet"}, {Long: "format", Value: true}, {Long: "force"}, {Long: "force-share"},
}, letters...)

// TestParse reads command lines: options as they are taken, then the operands, or what
// the C library has to say.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		options []Option
		line    string
		want    string
	}{
		{words, "x -a y", "-a| x y"},
		{words, "-av1 -v 2 -qv=3", "-a -v=1 -v=2 -q -v==3|"},
		{words, "--format=raw --format qcow2 --form= z", "--format=raw --format=qcow2 --format=| z"},
		{words, "--force --force-s --qu", "--force --force-share -q|"},
		{words, "- -a -- -a --force", "-a| - -a --force"},
		{words, "--fo", "option '--fo' is ambiguous; possibilities: '--format' '--force' '--force-share'"},
		{words, "--foo=1", "unrecognized option '--foo=1'"},
		{words, "--=1", "unrecognized option '--=1'"},
		{words, "--qui=1", "option '--quiet' doesn't allow an argument"},
		{words, "-a --form", "option '--format' requires an argument"},
		{words, "-av", "option requires an argument -- 'v'"},
		{words, "-ax", "invalid option -- 'x'"},
		{letters, "--a", "invalid option -- '-'"},
		{letters, "-a -- --a", "-a| --a"},
	} {
		var taken []string
		operands, err := Parse(tt.options, strings.Fields(tt.line), func(o *Option, value string) error {
			name := "--" + o.Long
			if o.Letter != 0 {
				name = "-" + string(o.Letter)
			}
			if o.Value {
				name += "=" + value
			}
			taken = append(taken, name)
			return nil
		})
		got := strings.TrimSpace(strings.Join(taken, " ") + "| " + strings.Join(operands, " "))
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
}

// What take refuses ends the reading, before what is wrong behind it is seen.
func TestParseEndsWithTheFirstError(t *testing.T) {
	refused := errors.New("refused")
	if _, err := Parse(words, []string{"-a", "--nonsense"}, func(*Option, string) error { return refused }); err != refused {
		t.Error(err)
	}
}

func ExampleParse() {
	options := []Option{{Letter: 'f', Long: "format", Value: true}}
	operands, err := Parse(options, []string{"disk", "--form", "raw"}, func(o *Option, value string) error {
		fmt.Println(o.Long, value)
		return nil
	})
	fmt.Println(operands, err)
	// Output:
	// format raw
	// [disk] <nil>
}
