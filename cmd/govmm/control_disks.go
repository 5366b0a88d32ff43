package main

import (
	"cmp"
	"context"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
)

// diskCommands are the commands about media and drives.
func (c *control) diskCommands() []qmp.Command {
	return []qmp.Command{
		qmp.NewCommand("query-block", c.queryBlock),
		qmp.NewCommand("query-blockstats", c.queryBlockStats),
		qmp.NewCommand("query-named-block-nodes", c.queryNodes),
		qmp.NewCommand("blockdev-add", c.blockdevAdd),
		qmp.NewCommand("blockdev-del", c.blockdevDel),
		qmp.NewCommand("device_add", c.deviceAdd),
		qmp.NewCommand("device_del", c.deviceDel),
		qmp.NewCommand("block_resize", c.blockResize),
		qmp.NewCommand("blockdev-snapshot-internal-sync", c.snapshotCreate),
		qmp.NewCommand("blockdev-snapshot-delete-internal-sync", c.snapshotDelete),
	}
}

type nodeArgs struct {
	Node     string    `json:"node-name"`
	Driver   nodeKind  `json:"driver"`
	ReadOnly bool      `json:"read-only,omitempty"`
	File     *fileArgs `json:"file,omitempty"`
	Filename string    `json:"filename,omitempty"`
	Size     int64     `json:"size,omitempty"`
	Cache    cacheArgs `json:"cache,omitzero"`
	Discard  discard   `json:"discard,omitempty"`
}

// nodeKind is what a medium or a file is made of (QEMU, BlockdevDriver).
type nodeKind string

// Kinds beside the formats of package block.
const (
	nodeFile   nodeKind = "file"
	nodeDevice nodeKind = "host_device"
	nodeNull   nodeKind = "null-co"
)

// QMPValues implements qmp.Enum.
func (nodeKind) QMPValues() []string {
	return enumeration(block.FormatQCOW2, block.FormatRaw, block.FormatLUKS, nodeFile, nodeDevice, nodeNull)
}

type cacheArgs struct {
	Direct  bool `json:"direct,omitempty"`
	NoFlush bool `json:"no-flush,omitempty"`
}

type fileArgs struct {
	Driver   nodeKind  `json:"driver"`
	Filename string    `json:"filename"`
	Node     string    `json:"node-name,omitempty"`
	ReadOnly bool      `json:"read-only,omitempty"`
	Cache    cacheArgs `json:"cache,omitzero"`
	Discard  discard   `json:"discard,omitempty"`
}

// discard says what becomes of storage that the guest gives back: the host gets it.
type discard string

// QMPValues implements qmp.Enum.
func (discard) QMPValues() []string { return []string{"unmap"} }

// blockdevAdd opens a medium. A format is given with its file inside; a file alone
// is raw.
func (c *control) blockdevAdd(_ context.Context, a nodeArgs) (qmp.None, error) {
	if !validName(a.Node) {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Invalid node-name: '%s'", a.Node)
	}
	spec := diskSpec{onError: defaultErrorPolicy, medium: block.Spec{ReadOnly: a.ReadOnly, Path: a.Filename, Direct: a.Cache.Direct, NoFlush: a.Cache.NoFlush}}
	unexpected := func(name string, given bool) error {
		if !given {
			return nil
		}
		return qmp.Errorf(qmp.GenericError, "Parameter '%s' is unexpected", name)
	}
	var err error
	switch a.Driver {
	case nodeFile, nodeDevice:
		spec.medium.Format = block.FormatRaw
		err = cmp.Or(unexpected("file", a.File != nil), unexpected("size", a.Size != 0))
		if a.Filename == "" {
			err = qmp.Errorf(qmp.GenericError, "Parameter 'filename' is missing")
		}
	case nodeNull:
		spec.medium.Format, spec.medium.Size = block.FormatNull, a.Size
		err = cmp.Or(unexpected("file", a.File != nil), unexpected("filename", a.Filename != ""))
	default:
		spec.medium.Format = string(a.Driver)
		err = cmp.Or(unexpected("filename", a.Filename != ""), unexpected("size", a.Size != 0))
		switch {
		case a.File == nil:
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'file' is missing")
		case a.File.Driver != nodeFile && a.File.Driver != nodeDevice:
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'file.driver' does not accept value '%s'", a.File.Driver)
		}
		spec.medium.Path = a.File.Filename
		spec.medium.ReadOnly = spec.medium.ReadOnly || a.File.ReadOnly
		spec.medium.Direct = spec.medium.Direct || a.File.Cache.Direct
		spec.medium.NoFlush = spec.medium.NoFlush || a.File.Cache.NoFlush
	}
	if err != nil {
		return qmp.None{}, err
	}
	return qmp.None{}, c.m.disks.add(a.Node, spec)
}

type nodeName struct {
	Node string `json:"node-name"`
}

func (c *control) blockdevDel(_ context.Context, a nodeName) (qmp.None, error) {
	return qmp.None{}, c.m.disks.remove(a.Node)
}

type deviceArgs struct {
	Driver     string     `json:"driver"`
	ID         string     `json:"id"`
	Drive      string     `json:"drive"`
	Bus        string     `json:"bus,omitempty"`
	Serial     string     `json:"serial,omitempty"`
	Slot       *int       `json:"scsi-id,omitempty"`
	WriteCache writeCache `json:"write-cache,omitempty"`
	ReadError  onError    `json:"rerror,omitempty"`
	WriteError onError    `json:"werror,omitempty"`
}

// onError is what becomes of transfers that fail (QEMU, BlockdevOnError).
type onError string

const onErrorAuto onError = "auto" // as of a disk that says nothing

// QMPValues implements qmp.Enum.
func (onError) QMPValues() []string {
	words := enumeration(onErrorAuto)
	for _, a := range writeErrorActions {
		words = append(words, a.String())
	}
	return words
}

// writeCache is whether a drive's writes are complete before they are durable.
type writeCache string

const (
	writeCacheAuto writeCache = "auto" // as the medium says
	writeCacheOn   writeCache = "on"
	writeCacheOff  writeCache = "off"
)

// QMPValues implements qmp.Enum.
func (writeCache) QMPValues() []string {
	return enumeration(writeCacheAuto, writeCacheOn, writeCacheOff)
}

// driveDriver is what QEMU calls a drive behind a controller.
const driveDriver = "scsi-hd"

// bus is the controller's bus of drives, by its name.
func (c *control) bus() string { return c.m.controller.Function().Name() + ".0" }

// deviceAdd puts a medium into a drive of the controller: a volume is made on it, as
// on those of the command line.
func (c *control) deviceAdd(_ context.Context, a deviceArgs) (qmp.None, error) {
	switch {
	case a.Driver != driveDriver:
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "'%s' is not a valid device model name: it must be %s", a.Driver, driveDriver)
	case !validName(a.ID):
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'id' expects an identifier")
	case a.Bus != "" && a.Bus != c.bus():
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Bus '%s' not found: it must be %s", a.Bus, c.bus())
	}
	slot := -1
	if a.Slot != nil {
		if slot = *a.Slot; slot < 0 || slot >= maxSlots {
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "scsi-id %d: must be 0 to %d", slot, maxSlots-1)
		}
	}
	return qmp.None{}, c.m.disks.plug(a.Drive, a.ID, slot, func(spec *diskSpec) error {
		switch a.WriteCache {
		case writeCacheOn:
			spec.cache = raid.WriteBack
		case writeCacheOff:
			spec.cache = raid.WriteThrough
		}
		for key, value := range map[string]string{"serial": a.Serial, "rerror": string(a.ReadError), "werror": string(a.WriteError)} {
			if value == "" || value == string(onErrorAuto) && key != "serial" {
				continue
			}
			if err := spec.set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

type deviceID struct {
	ID string `json:"id"`
}

func (c *control) deviceDel(_ context.Context, a deviceID) (qmp.None, error) {
	return qmp.None{}, c.m.disks.unplug(a.ID)
}

type resizeArgs struct {
	Device string `json:"device,omitempty"`
	Node   string `json:"node-name,omitempty"`
	Size   int64  `json:"size"`
}

func (c *control) blockResize(_ context.Context, a resizeArgs) (qmp.None, error) {
	const sector = 512
	switch {
	case a.Size < 0:
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'size' expects a >0 size")
	case a.Size%sector != 0:
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "The new size must be a multiple of %d", sector)
	}
	return qmp.None{}, c.m.disks.resize(a.Device, a.Node, a.Size)
}

// image is the qcow2 image of a disk.
func (c *control) image(name string) (*qcow2.Image, error) {
	c.m.disks.mu.Lock()
	defer c.m.disks.mu.Unlock()
	x, err := c.m.disks.findAny(name, name)
	if err != nil {
		return nil, err
	}
	im, ok := x.medium.(*qcow2.Image)
	if !ok {
		return nil, qmp.Errorf(qmp.GenericError, "Block format '%s' used by device '%s' does not support internal snapshots", driverOf(*x), name)
	}
	return im, nil
}

type snapshotArgs struct {
	Device string `json:"device"`
	Name   string `json:"name"`
}

func (c *control) snapshotCreate(_ context.Context, a snapshotArgs) (qmp.None, error) {
	im, err := c.image(a.Device)
	if err == nil && a.Name == "" {
		err = qmp.Errorf(qmp.GenericError, "Name is empty")
	}
	if err != nil {
		return qmp.None{}, err
	}
	for _, s := range im.Snapshots() {
		if s.Name == a.Name {
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "Snapshot with name '%s' already exists on device '%s'", a.Name, a.Device)
		}
	}
	_, err = im.CreateSnapshot(qcow2.SnapshotOptions{Name: a.Name})
	return qmp.None{}, err
}

type snapshotDeleteArgs struct {
	Device string `json:"device"`
	ID     string `json:"id,omitempty"`
	Name   string `json:"name,omitempty"`
}

func (c *control) snapshotDelete(_ context.Context, a snapshotDeleteArgs) (snapshotInfo, error) {
	if a.ID == "" && a.Name == "" {
		return snapshotInfo{}, qmp.Errorf(qmp.GenericError, "Name or id must be provided")
	}
	im, err := c.image(a.Device)
	if err != nil {
		return snapshotInfo{}, err
	}
	for _, s := range im.Snapshots() {
		if (a.ID == "" || s.ID == a.ID) && (a.Name == "" || s.Name == a.Name) {
			return describeSnapshot(s), im.DeleteSnapshot(s.ID)
		}
	}
	return snapshotInfo{}, qmp.Errorf(qmp.GenericError, "Snapshot with id '%s' and name '%s' does not exist on device '%s'",
		cmp.Or(a.ID, "null"), cmp.Or(a.Name, "null"), a.Device)
}
