package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
)

// disk is an open medium, with the drive that it is in if it is in one.
type disk struct {
	name   string // of the medium
	spec   diskSpec
	medium block.Device

	accounted block.Device // the medium as the drive has it
	account   *block.Account

	device   string // of the drive; empty: there is none
	id       uint16 // of the drive, on the controller
	slot     int
	leaving  bool // it is being taken out
	resizing bool
}

func newDisk(name string, spec diskSpec, medium block.Device) *disk {
	x := &disk{name: name, spec: spec, medium: medium}
	x.accounted, x.account = block.Accounted(medium)
	return x
}

// disks are the media of a machine and the drives that they are in. Its methods
// may be called from any goroutine.
type disks struct {
	controller *megasas.Controller            // set before anybody else has the disks
	removed    func(device string, err error) // told of a drive that was taken out, and of what went wrong

	removals sync.WaitGroup
	mu       sync.Mutex
	list     []*disk // guarded by mu, with what is in it
}

// maxSlots is how many drives the machine's backplane takes.
const maxSlots = raid.MaxDrives

// open opens the disks of the command line and makes drives of them.
func (d *disks) open(specs []diskSpec) ([]megasas.DriveConfig, error) {
	var drives []megasas.DriveConfig
	for slot, spec := range specs {
		medium, err := block.Open(spec.medium)
		if err != nil {
			return nil, err
		}
		name := spec.id
		if name == "" {
			name = fmt.Sprintf("disk%d", slot+1)
		}
		x := newDisk(name, spec, medium)
		x.device, x.slot = name, slot
		if d.find(name) != nil {
			return nil, errors.Join(fmt.Errorf("--disk: two disks are called %q", name), medium.Close())
		}
		d.list = append(d.list, x)
		drives = append(drives, x.drive())
	}
	return drives, nil
}

// drive is the disk as the controller takes it.
func (x *disk) drive() megasas.DriveConfig {
	return megasas.DriveConfig{
		Drive:  raid.NewDrive(x.accounted, x.spec.identity(x.slot)),
		Cache:  x.spec.cache,
		System: x.spec.system,

		OnError: x.spec.onError,
	}
}

// plugged enters the device ids of the drives that the controller was made with.
func (d *disks) plugged(c *megasas.Controller) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.controller = c
	for _, drive := range c.Drives().View().Drives {
		for _, x := range d.list {
			if int(drive.Identity.Slot) == x.slot {
				x.id = drive.DeviceID
			}
		}
	}
}

// find returns a disk by the name of its medium, or nil.
//
// Preconditions: d.mu is held, or nobody else has the disks.
func (d *disks) find(name string) *disk {
	i := slices.IndexFunc(d.list, func(x *disk) bool { return x.name == name })
	if i < 0 {
		return nil
	}
	return d.list[i]
}

// findAny returns a disk by the name of its drive or, if there is none of that name,
// by that of its medium.
//
// Preconditions: d.mu is held.
func (d *disks) findAny(device, name string) (*disk, error) {
	for _, x := range d.list {
		if x.device == device && device != "" {
			return x, nil
		}
	}
	if x := d.find(name); x != nil {
		return x, nil
	}
	return nil, qmp.Errorf(qmp.GenericError, "Cannot find device='%s' nor node-name='%s'", device, name)
}

// add opens a medium.
func (d *disks) add(name string, spec diskSpec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.find(name); x != nil {
		return qmp.Errorf(qmp.GenericError, "Duplicate nodes with node-name='%s'", name)
	}
	medium, err := block.Open(spec.medium)
	if err != nil {
		return err
	}
	d.list = append(d.list, newDisk(name, spec, medium))
	return nil
}

// remove closes a medium that is in no drive.
func (d *disks) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.find(name)
	switch {
	case x == nil:
		return qmp.Errorf(qmp.GenericError, "Failed to find node with node-name='%s'", name)
	case x.device != "" || x.resizing:
		return qmp.Errorf(qmp.GenericError, "Node %s is in use", name)
	}
	d.list = slices.DeleteFunc(d.list, func(o *disk) bool { return o == x })
	return x.medium.Close()
}

// plug puts a medium into a drive and that into a slot, the first that is free if
// slot is negative.
func (d *disks) plug(name, device string, slot int, change func(*diskSpec) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.find(name)
	if x == nil {
		return qmp.Errorf(qmp.GenericError, "Property 'scsi-hd.drive' can't find value '%s'", name)
	}
	if x.device != "" {
		return qmp.Errorf(qmp.GenericError, "Drive '%s' is already in use by another block device", name)
	}
	taken := map[int]bool{}
	for _, o := range d.list {
		if o.device == device {
			return qmp.Errorf(qmp.GenericError, "Duplicate device ID '%s'", device)
		}
		if o.device != "" {
			taken[o.slot] = true
		}
	}
	if slot < 0 {
		for slot = 0; taken[slot]; slot++ {
		}
	}
	if slot >= maxSlots || taken[slot] {
		return qmp.Errorf(qmp.GenericError, "slot %d is taken, or none of %d is free", slot, maxSlots)
	}
	spec := x.spec
	if err := change(&spec); err != nil {
		return err
	}
	old := x.spec
	x.spec, x.slot = spec, slot
	id, err := d.controller.AddDrive(x.drive())
	if err != nil {
		x.spec = old
		return err
	}
	x.device, x.id = device, id
	return nil
}

// unplug takes a drive out, and deletes the volume on it if it has no other drives.
// It returns at once: the drive is gone when removed is called, after what is under
// way on it.
func (d *disks) unplug(device string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.list, func(x *disk) bool { return x.device == device && device != "" })
	if i < 0 {
		return qmp.Errorf(qmp.DeviceNotFound, "Device '%s' not found", device)
	}
	x := d.list[i]
	if x.leaving {
		return qmp.Errorf(qmp.GenericError, "Device %s is already in the process of unplug", device)
	}
	x.leaving = true
	d.removals.Go(func() {
		var errs []error
		for _, target := range d.controller.VolumesOn(x.id) {
			errs = append(errs, d.controller.DeleteVolume(target))
		}
		errs = append(errs, d.controller.RemoveDrive(x.id))
		if !x.medium.ReadOnly() {
			errs = append(errs, x.medium.Flush())
		}
		d.mu.Lock()
		x.leaving, x.device = false, ""
		d.mu.Unlock()
		d.removed(device, errors.Join(errs...))
	})
	return nil
}

// resize changes the size of a medium, and tells the guest.
func (d *disks) resize(device, node string, size int64) error {
	d.mu.Lock()
	x, err := d.findAny(device, node)
	if err == nil && (x.resizing || x.leaving) {
		err = qmp.Errorf(qmp.GenericError, "Node '%s' is busy", x.name)
	}
	if err != nil {
		d.mu.Unlock()
		return err
	}
	device, id := x.device, x.id
	x.resizing = true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		x.resizing = false
	}()
	r, ok := x.medium.(block.Resizer)
	switch {
	case !ok:
		return qmp.Errorf(qmp.GenericError, "Image format driver does not support resize")
	case x.medium.ReadOnly():
		return qmp.Errorf(qmp.GenericError, "Image is read-only")
	case device != "" && size < x.medium.Size():
		return qmp.Errorf(qmp.GenericError, "a disk that the guest has can't become smaller than it is, %d bytes", x.medium.Size())
	}
	if err := r.Resize(size); err != nil {
		return err
	}
	if device == "" {
		return nil
	}
	return d.controller.GrowDrive(id)
}

// of returns the disk in a drive.
func (d *disks) of(id uint16) (x disk, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.list {
		if x.device != "" && x.id == id {
			return *x, true
		}
	}
	return disk{}, false
}

// snapshot returns the disks as they are now, in the order of their slots.
func (d *disks) snapshot() []disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []disk
	for _, x := range d.list {
		list = append(list, *x)
	}
	slices.SortStableFunc(list, func(a, b disk) int { return a.slot - b.slot })
	return list
}

// settle waits until no drive is being taken out.
func (d *disks) settle(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		d.removals.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a drive is still being taken out: %w", context.Cause(ctx))
	}
}

// close closes all media. Nobody may use the disks any more.
func (d *disks) close() error {
	var errs []error
	for _, x := range slices.Backward(d.list) {
		if err := x.medium.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close disk %q: %w", x.spec.medium.Path, err))
		}
	}
	d.list = nil
	return errors.Join(errs...)
}
