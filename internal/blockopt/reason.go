package blockopt

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

// Reason is why a disk can't be opened, in QEMU's words where it has some.
func Reason(err error) string {
	var locked *qcow2.LockError
	var path *fs.PathError
	var backing *qcow2.BackingError
	var option block.OptionError
	var driver block.DriverError
	var image *qcow2.ImageError
	switch {
	case errors.As(err, &option):
		return option.Error()
	case errors.As(err, &backing):
		return "Could not open backing file: " + Reason(backing.Err)
	case errors.As(err, &image):
		return image.Problem
	case errors.As(err, &driver):
		return fmt.Sprintf("Unknown driver '%s'", string(driver))
	case errors.As(err, &locked):
		kind := ""
		if locked.Shared {
			kind = "shared "
		}
		return fmt.Sprintf("Failed to get %s%q lock\nIs another process using the image [%s]?", kind, locked.Permission, locked.Path)
	case errors.Is(err, qcow2.ErrFormat):
		return "Image is not in qcow2 format"
	case errors.Is(err, luks.ErrFormat):
		return "Volume is not in LUKS format"
	case errors.Is(err, luks.ErrPassphrase):
		return "Invalid password, cannot unlock any keyslot"
	case errors.Is(err, block.ErrSecret):
		return "Parameter 'key-secret' is required for cipher"
	case errors.Is(err, qcow2.ErrSecret):
		return "Parameter 'encrypt.key-secret' is required for cipher"
	case errors.As(err, &path) && path.Op == "open":
		return fmt.Sprintf("Could not open '%s': %s", path.Path, sentence(path.Err))
	}
	if open := (*block.OpenError)(nil); errors.As(err, &open) {
		return open.Err.Error() // who complains names the file
	}
	return err.Error()
}
