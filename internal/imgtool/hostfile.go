package imgtool

import (
	"os"

	"github.com/govmm/govmm/qcow2"
)

// openHostFile opens a file of the host to look at it.
func openHostFile(path string) (*qcow2.OSFile, error) { return openHostFileFor(path, false) }

func openHostFileFor(path string, write bool) (*qcow2.OSFile, error) {
	if write {
		return qcow2.OpenFile(path, os.O_RDWR)
	}
	return qcow2.OpenFile(path, os.O_RDONLY)
}
