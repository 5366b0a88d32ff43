package imgtool

import (
	"errors"
	"fmt"
	"os"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// openHostFile opens a file of the host, and locks it unless the user wants to
// share it.
func openHostFile(path string, write, share bool) (*qcow2.OSFile, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := qcow2.OpenFile(path, flags)
	if err != nil || share {
		return f, err
	}
	if err := block.Lock(f, !write, false); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lock locks a file against other users.
func lock(f *qcow2.OSFile, readOnly bool) error {
	if err := block.Lock(f, readOnly, false); err != nil {
		return &restated{reason(err), err}
	}
	return nil
}

// lockText is what qemu-img says of a file that somebody else uses.
func lockText(e *qcow2.LockError) string {
	kind := ""
	if e.Shared {
		kind = "shared "
	}
	return fmt.Sprintf("Failed to get %s\"%s\" lock\nIs another process using the image [%s]?", kind, e.Permission, e.Path)
}
