package imgtool

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// firstBlock is how much of a raw disk gets storage when it is created.
func firstBlock(size int64) int64 {
	if size < int64(len(zeroes)) {
		return sectorSize
	}
	return int64(len(zeroes))
}

func (t *Tool) createRaw(n *newImage) error {
	mode := n.values.or("preallocation", "off")
	switch {
	case mode == "off":
	case n.format == driverHostDevice:
		return fmt.Errorf("Unsupported preallocation mode '%s'", mode)
	case mode == "falloc", mode == "full":
	case mode == "metadata":
		return fmt.Errorf("Unsupported preallocation mode: %s", mode)
	default:
		return fmt.Errorf("invalid parameter value: %s", mode)
	}
	if n.size < 0 || n.size > math.MaxInt64-sectorSize {
		return errors.New("Could not resize file: Invalid argument")
	}
	if n.format == driverHostDevice {
		return t.clearDevice(n)
	}
	path := n.file
	if n.format == driverFile {
		path = "file:" + path // whatever the name looks like
	}
	return makeFile(path, func(f qcow2.File) error {
		size := sectors(n.size)
		if err := errors.Join(f.Truncate(0), f.Truncate(size)); errors.Is(err, qcow2.ErrDeviceSize) {
			return errNoGrowth
		} else if errors.Is(err, syscall.EFBIG) {
			return fmt.Errorf("The image size is too large for file format '%s'", n.format)
		} else if err != nil {
			return err
		}
		switch mode {
		case "off":
			// As QEMU does, so that how large the blocks of the host are can be
			// found out by reading.
			if size > 0 {
				return f.WriteV([][]byte{zeroes[:firstBlock(size)]}, 0)
			}
		case "falloc":
			if host, ok := f.(*qcow2.OSFile); ok {
				return host.Reserve(0, size)
			}
			return errors.New("Unsupported preallocation mode 'falloc'")
		case "full":
			buf := make([]byte, 1<<20)
			for off := int64(0); off < size; off += int64(len(buf)) {
				if err := f.WriteV([][]byte{buf[:min(int64(len(buf)), size-off)]}, off); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// errNoGrowth is that a device is smaller than the disk that is to be in it.
var errNoGrowth = errors.New("Cannot grow device files")

// clearDevice makes a device, which is there already, the disk of a new image.
func (t *Tool) clearDevice(n *newImage) error {
	const refused = "Protocol driver '%s' does not support image creation, and opening the image failed: %s"
	s, err := t.locate(n.file, false, openOptions{format: n.format, write: true})
	if err != nil {
		return fmt.Errorf(refused, n.format, trimOpen(err, n.file))
	}
	d, err := t.openSource(s, openOptions{write: true})
	if err != nil {
		return fmt.Errorf(refused, n.format, trimOpen(err, n.file))
	}
	defer d.Close()
	if d.Size() < n.size {
		return errNoGrowth
	}
	if err := d.WriteV([][]byte{zeroes[:min(sectorSize, d.Size())]}, 0); err != nil {
		return fmt.Errorf("Failed to clear the new image's first sector: %s", reason(err))
	}
	return d.Flush()
}
