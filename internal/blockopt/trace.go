package blockopt

import (
	"fmt"
	"strings"
)

// Trace reads what QEMU's option --trace says of programs that have no events to trace: a
// pattern of their names, or enable=, events= and file=. listed reports that it asks only which
// there are; missing says that the one that it names is not there.
func Trace(spec string) (listed bool, missing string) {
	first, _, _ := strings.Cut(spec, ",")
	for i, o := range Split(spec) {
		name := o.Value
		switch {
		case i == 0 && !strings.Contains(first, "="):
			name = first
		case o.Name != "enable":
			continue
		}
		if name == "help" || name == "?" {
			return true, ""
		}
		if name = strings.TrimPrefix(name, "-"); !strings.ContainsAny(name, "*?") {
			missing = fmt.Sprintf("trace event '%s' does not exist", name)
		}
	}
	return false, missing
}
