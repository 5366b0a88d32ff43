package imgtool

import (
	"errors"
	"fmt"
	"slices"

	"github.com/govmm/govmm/qcow2"
)

// checkBitmaps refuses bitmaps that can't be copied, before anything is made.
func (c *copying) checkBitmaps() error {
	if len(c.sources) > 1 {
		return errors.New("Copying bitmaps only possible with single source")
	}
	im, ok := c.sources[0].(*qcow2.Image)
	if !ok || im.Info().Version < 3 {
		return errors.New("Source lacks bitmap support")
	}
	list, err := im.Bitmaps()
	if err != nil {
		return err
	}
	for _, b := range slices.Backward(list) { // as qemu-img goes through them
		if b.Inconsistent && !c.job.skipBroken {
			return fmt.Errorf("Cannot copy inconsistent bitmap '%s'\nTry --skip-broken-bitmaps, or use '%s bitmap --remove' to delete it", b.Name, c.tool.Name)
		}
	}
	return nil
}

// copyBitmaps copies the persistent bitmaps.
func (c *copying) copyBitmaps() error {
	if !c.job.bitmaps {
		return nil
	}
	to := c.image()
	if to == nil {
		return errors.New("Format driver does not support persistent bitmaps")
	}
	from := c.sources[0].(*qcow2.Image)
	list, err := from.Bitmaps()
	if err != nil {
		return err
	}
	for _, b := range slices.Backward(list) {
		if b.Inconsistent {
			c.tool.warn("Skipping inconsistent bitmap '%s'", b.Name)
		}
	}
	for _, b := range list {
		if b.Inconsistent {
			continue
		}
		if err := to.AddBitmap(b.Name, qcow2.BitmapOptions{Granularity: b.Granularity, Disabled: true}); err != nil {
			return fmt.Errorf("Failed to create bitmap %s: %s", b.Name, reason(err))
		}
		err := to.MergeBitmap(b.Name, from, b.Name)
		if err == nil && b.Enabled {
			err = to.EnableBitmap(b.Name)
		}
		if err != nil {
			return fmt.Errorf("Failed to populate bitmap %s: %s", b.Name, reason(err))
		}
	}
	return nil
}
