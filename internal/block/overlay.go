package block

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/qcow2"
)

// TemporaryOverlay makes a temporary image on top of the disk that spec describes, alone
// in a directory of its own, which the caller removes once the image is open. The disk
// is not written to. The result is what to open.
func TemporaryOverlay(spec Spec) (Spec, error) {
	base, err := filepath.Abs(spec.Path)
	if err != nil {
		return spec, err
	}
	below := spec
	below.ReadOnly, below.CopyOnRead, below.Debug = true, false, nil
	dev, err := Open(below)
	if err != nil {
		return spec, err
	}
	size, format := dev.Size(), spec.Format
	if format == "" {
		format = FormatQCOW2
	}
	if err := dev.Close(); err != nil {
		return spec, err
	}
	dir, err := os.MkdirTemp("", "overlay")
	if err != nil {
		return spec, err
	}
	top := spec
	top.Storage, top.Window, top.Alone, top.DataFile, top.Backing = nil, nil, false, "", &below
	top.Take, top.Unshare = 0, 0
	top.Data, top.Compress, top.Filter = nil, false, false
	top.Path, top.Format, top.ReadOnly, top.ForceShare = filepath.Join(dir, "overlay"), FormatQCOW2, false, false
	f, err := qcow2.OpenFile(top.Path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err == nil {
		err = errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: size, BackingFile: base, BackingFormat: format}), f.Close())
	}
	if err != nil {
		return spec, errors.Join(err, os.RemoveAll(dir))
	}
	return top, nil
}
