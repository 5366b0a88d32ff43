package imgtool

import (
	"errors"
	"os"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// openHostFile opens a file of the host to look at it. With share others may be
// writing it.
func openHostFile(path string, share bool) (*qcow2.OSFile, error) {
	return openHostFileFor(path, false, share)
}

func openHostFileFor(path string, write, share bool) (*qcow2.OSFile, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := qcow2.OpenFile(path, flags)
	if err != nil {
		return nil, err
	}
	if err := block.Lock(f, !write, share && !write); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
