package imgtool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// snapshotParameter is what -l says: snapshot.id= and snapshot.name=, or one element
// without a value that may be either. nil: nothing.
func (t *Tool) snapshotParameter(a *arguments) ([]blockopt.Option, error) {
	l := a.get("l", "")
	switch {
	case !a.has("l"):
		return nil, nil
	case !strings.HasPrefix(l, "snapshot."):
		return []blockopt.Option{{Name: l}}, nil
	}
	list := blockopt.Split(l)
	for _, o := range list {
		if o.Name != "snapshot.id" && o.Name != "snapshot.name" {
			t.complain(fmt.Errorf("Invalid parameter '%s'", o.Name))
			return nil, fmt.Errorf("Failed in parsing snapshot param '%s'", l)
		}
	}
	return list, nil
}

// setSnapshot makes a source the disk of a snapshot.
func setSnapshot(s *block.Spec, list []blockopt.Option) error {
	if s.Format != block.FormatQCOW2 {
		return fmt.Errorf("Failed to load snapshot: Block format '%s' used by device '' does not support temporarily loading internal snapshots", s.Format)
	}
	for _, o := range list {
		switch o.Name {
		case "snapshot.id":
			s.Snapshot.ID = o.Value
		case "snapshot.name":
			s.Snapshot.Name = o.Value
		default:
			s.Snapshot = qcow2.SnapshotRef{Any: o.Name}
		}
	}
	return nil
}

// snapshotError is the failure to open an image at a snapshot that it lacks.
func snapshotError(err error) error {
	if errors.Is(err, qcow2.ErrNoSnapshot) {
		return fmt.Errorf("Failed to load snapshot: Can't find snapshot")
	}
	if image := misplaced(err); image != nil {
		return fmt.Errorf("Failed to load snapshot: %s", image.Problem)
	}
	return err
}

// misplaced is the error that a snapshot's L1 table can't be where its record says; nil if
// err is another.
func misplaced(err error) *qcow2.ImageError {
	image := (*qcow2.ImageError)(nil)
	if errors.As(err, &image) && strings.HasPrefix(image.Problem, "Snapshot L1 table ") {
		return image
	}
	return nil
}
