package imgtool

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

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
	return err
}
