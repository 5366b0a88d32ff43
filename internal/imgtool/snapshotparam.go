package imgtool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// snapshotParameter is the snapshot that -l describes; nil: none.
func (t *Tool) snapshotParameter(a *arguments) (*qcow2.SnapshotRef, error) {
	if !a.has("l") {
		return nil, nil
	}
	r, err := blockopt.ParseSnapshot(a.get("l", ""), a.warn)
	if bad := (*blockopt.SnapshotError)(nil); errors.As(err, &bad) {
		t.complain(bad.Cause())
	}
	return r, err
}

// setSnapshot makes a source the disk of a snapshot.
func setSnapshot(s *block.Spec, r *qcow2.SnapshotRef) error {
	if s.Format != block.FormatQCOW2 {
		return fmt.Errorf("Failed to load snapshot: Block format '%s' used by device '' does not support temporarily loading internal snapshots", s.Format)
	}
	if *r == (qcow2.SnapshotRef{}) { // which would stand for none
		return snapshotError(qcow2.ErrNoSnapshot)
	}
	s.Snapshot = *r
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
