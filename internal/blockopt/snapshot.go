package blockopt

import (
	"fmt"
	"strings"

	"github.com/govmm/govmm/qcow2"
)

// SnapshotError is a description of a snapshot that can't be read.
type SnapshotError struct{ parameter, whole string }

func (e *SnapshotError) Error() string {
	return fmt.Sprintf("Failed in parsing snapshot param '%s'", e.whole)
}

// Cause is what is wrong with it.
func (e *SnapshotError) Cause() error { return fmt.Errorf("Invalid parameter '%s'", e.parameter) }

// Whole is the description.
func (e *SnapshotError) Whole() string { return e.whole }

// ParseSnapshot reads the description of a snapshot: snapshot.id=ID,snapshot.name=NAME, of
// which one may be missing, or an ID or NAME alone. warn, if set,
// prints what there is to say against its form.
func ParseSnapshot(text string, warn func(text string)) (*qcow2.SnapshotRef, error) {
	if !strings.HasPrefix(text, "snapshot.") {
		return &qcow2.SnapshotRef{Any: text}, nil
	}
	r := new(qcow2.SnapshotRef)
	for _, o := range Split(text) {
		o.Warn(warn)
		switch o.Name {
		case "snapshot.id":
			r.ID = o.Value
		case "snapshot.name":
			r.Name = o.Value
		default:
			return nil, &SnapshotError{o.Name, text}
		}
	}
	return r, nil
}
