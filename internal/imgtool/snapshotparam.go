package imgtool

import (
	"errors"
	"fmt"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// setSnapshot makes a source the disk of a snapshot.
func setSnapshot(s *block.Spec, list []option) error {
	if s.Format != block.FormatQCOW2 {
		return fmt.Errorf("Failed to load snapshot: Block format '%s' used by device '' does not support temporarily loading internal snapshots", s.Format)
	}
	for _, o := range list {
		switch o.name {
		case "snapshot.id":
			s.Snapshot.ID = o.value
		case "snapshot.name":
			s.Snapshot.Name = o.value
		default:
			s.Snapshot = qcow2.SnapshotRef{Any: o.name}
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
