package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
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
	Node     string          `json:"node-name"`
	Driver   string          `json:"driver"`
	ReadOnly bool            `json:"read-only,omitempty"`
	File     json.RawMessage `json:"file,omitempty"`
	Filename string          `json:"filename,omitempty"`
	Size     int64           `json:"size,omitempty"`
	Cache    cacheArgs       `json:"cache,omitempty"`
	Discard  string          `json:"discard,omitempty"`
}

type cacheArgs struct {
	Direct  bool `json:"direct,omitempty"`
	NoFlush bool `json:"no-flush,omitempty"`
}

type fileArgs struct {
	Driver   string    `json:"driver"`
	Filename string    `json:"filename"`
	Node     string    `json:"node-name,omitempty"`
	ReadOnly bool      `json:"read-only,omitempty"`
	Cache    cacheArgs `json:"cache,omitempty"`
	Discard  string    `json:"discard,omitempty"`
}

// blockdevAdd opens a medium. A format is given with its file inside; a file alone
// is raw.
func (c *control) blockdevAdd(_ context.Context, a nodeArgs) (qmp.None, error) {
	if !validName(a.Node) {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Invalid node-name: '%s'", a.Node)
	}
	spec := diskSpec{medium: block.Spec{ReadOnly: a.ReadOnly, Path: a.Filename, Direct: a.Cache.Direct, NoFlush: a.Cache.NoFlush}}
	switch a.Driver {
	case "qcow2", "raw", "luks":
		spec.medium.Format = a.Driver
		var file fileArgs
		if err := json.Unmarshal(a.File, &file); err != nil || file.Filename == "" {
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'file' must be an object with 'driver' and 'filename'")
		}
		if file.Driver != "file" && file.Driver != "host_device" {
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'file.driver' does not accept value '%s'", file.Driver)
		}
		spec.medium.Path = file.Filename
		spec.medium.Direct = spec.medium.Direct || file.Cache.Direct
		spec.medium.NoFlush = spec.medium.NoFlush || file.Cache.NoFlush
	case "file", "host_device":
		spec.medium.Format = block.FormatRaw
	case "null-co":
		spec.medium.Format, spec.medium.Size = block.FormatNull, a.Size
	default:
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'driver' does not accept value '%s'", a.Driver)
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
	Driver     string `json:"driver"`
	ID         string `json:"id"`
	Drive      string `json:"drive"`
	Bus        string `json:"bus,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Slot       *int   `json:"scsi-id,omitempty"`
	WriteCache string `json:"write-cache,omitempty"`
}

// deviceAdd puts a medium into a drive of the controller: a volume is made on it, as
// on those of the command line.
func (c *control) deviceAdd(_ context.Context, a deviceArgs) (qmp.None, error) {
	if a.Driver != "scsi-hd" {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "'%s' is not a valid device model name", a.Driver)
	}
	if !validName(a.ID) {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Invalid device ID '%s'", a.ID)
	}
	slot := -1
	if a.Slot != nil {
		if slot = *a.Slot; slot < 0 {
			return qmp.None{}, qmp.Errorf(qmp.GenericError, "scsi-id %d: must be 0 to %d", slot, maxSlots-1)
		}
	}
	return qmp.None{}, c.m.disks.plug(a.Drive, a.ID, slot, func(spec *diskSpec) error {
		if a.Serial != "" {
			if err := spec.set("serial", a.Serial); err != nil {
				return err
			}
		}
		switch a.WriteCache {
		case "on":
			spec.cache = raid.WriteBack
		case "off":
			spec.cache = raid.WriteThrough
		case "", "auto":
		default:
			return qmp.Errorf(qmp.GenericError, "Parameter 'write-cache' expects 'on', 'off' or 'auto'")
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
	if (a.Device == "") == (a.Node == "") {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Use either 'device' or 'node-name', but not both")
	}
	if a.Size < 0 {
		return qmp.None{}, qmp.Errorf(qmp.GenericError, "Parameter 'size' expects a >0 size")
	}
	return qmp.None{}, c.m.disks.resize(a.Device+a.Node, a.Size)
}

// image is the qcow2 image of a disk.
func (c *control) image(name string) (*qcow2.Image, error) {
	c.m.disks.mu.Lock()
	defer c.m.disks.mu.Unlock()
	x, err := c.m.disks.findAny(name)
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

type snapshotInfo struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	VMStateSize int64  `json:"vm-state-size"`
	DateSec     int64  `json:"date-sec"`
	DateNsec    int64  `json:"date-nsec"`
	ClockSec    int64  `json:"vm-clock-sec"`
	ClockNsec   int64  `json:"vm-clock-nsec"`
	ICount      *int64 `json:"icount,omitempty"`
}

func describeSnapshot(s qcow2.SnapshotInfo) snapshotInfo {
	x := snapshotInfo{
		ID: s.ID, Name: s.Name, VMStateSize: s.VMStateSize,
		DateSec: s.Date.Unix(), DateNsec: int64(s.Date.Nanosecond()),
		ClockSec: int64(s.VMClock / time.Second), ClockNsec: int64(s.VMClock % time.Second),
	}
	if s.ICount >= 0 {
		x.ICount = &s.ICount
	}
	return x
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
	return snapshotInfo{}, qmp.Errorf(qmp.GenericError, "Snapshot with id '%s' and name '%s' does not exist on device '%s'", a.ID, a.Name, a.Device)
}

type blockInfo struct {
	Device    string    `json:"device"`
	Qdev      string    `json:"qdev,omitempty"`
	Type      string    `json:"type"`
	Removable bool      `json:"removable"`
	Locked    bool      `json:"locked"`
	Inserted  *nodeInfo `json:"inserted,omitempty"`
	IOStatus  string    `json:"io-status,omitempty"`
}

type nodeInfo struct {
	File           string    `json:"file"`
	Node           string    `json:"node-name"`
	ReadOnly       bool      `json:"ro"`
	Driver         string    `json:"drv"`
	Encrypted      bool      `json:"encrypted"`
	BackingDepth   int       `json:"backing_file_depth"`
	DetectZeroes   string    `json:"detect_zeroes"`
	BPS            int       `json:"bps"`
	BPSRead        int       `json:"bps_rd"`
	BPSWrite       int       `json:"bps_wr"`
	IOPS           int       `json:"iops"`
	IOPSRead       int       `json:"iops_rd"`
	IOPSWrite      int       `json:"iops_wr"`
	WriteThreshold int       `json:"write_threshold"`
	Cache          cacheInfo `json:"cache"`
	Image          imageInfo `json:"image"`
}

type cacheInfo struct {
	Writeback bool `json:"writeback"`
	Direct    bool `json:"direct"`
	NoFlush   bool `json:"no-flush"`
}

type imageInfo struct {
	Filename    string         `json:"filename"`
	Format      string         `json:"format"`
	VirtualSize int64          `json:"virtual-size"`
	ActualSize  int64          `json:"actual-size,omitempty"`
	ClusterSize int64          `json:"cluster-size,omitempty"`
	Backing     string         `json:"backing-filename,omitempty"`
	Snapshots   []snapshotInfo `json:"snapshots,omitempty"`
}

// driverOf is the format of a disk by QEMU's name.
func driverOf(x disk) string {
	switch {
	case x.spec.medium.Format == block.FormatNull:
		return "null-co"
	case x.spec.medium.Format != "":
		return x.spec.medium.Format
	}
	return "qcow2" // the only one that is ever found out
}

func describeNode(x disk) *nodeInfo {
	n := &nodeInfo{
		File: x.spec.medium.Path, Node: x.name, ReadOnly: x.medium.ReadOnly(), Driver: driverOf(x),
		DetectZeroes: "off",
		Cache:        cacheInfo{x.spec.cache == raid.WriteBack, x.spec.medium.Direct, x.spec.medium.NoFlush},
		Image:        imageInfo{Filename: x.spec.medium.Path, Format: driverOf(x), VirtualSize: x.medium.Size()},
	}
	n.Image.ActualSize = allocated(x.spec.medium.Path)
	if im, ok := x.medium.(*qcow2.Image); ok {
		info := im.Info()
		n.Image.ClusterSize, n.Image.Backing = info.ClusterSize, info.BackingFile
		for _, s := range info.Snapshots {
			n.Image.Snapshots = append(n.Image.Snapshots, describeSnapshot(s))
		}
		n.BackingDepth = len(block.Files(im)) - 1
	}
	return n
}

func (c *control) queryBlock(context.Context, qmp.None) ([]blockInfo, error) {
	list := []blockInfo{}
	for _, x := range c.m.disks.snapshot() {
		if x.device != "" {
			list = append(list, blockInfo{
				Device: x.device, Qdev: x.device, Type: "unknown", IOStatus: "ok", Inserted: describeNode(x),
			})
		}
	}
	return list, nil
}

func (c *control) queryNodes(context.Context, qmp.None) ([]*nodeInfo, error) {
	list := []*nodeInfo{}
	for _, x := range c.m.disks.snapshot() {
		list = append(list, describeNode(x))
	}
	return list, nil
}

type blockStats struct {
	Device string    `json:"device"`
	Qdev   string    `json:"qdev"`
	Node   string    `json:"node-name"`
	Stats  diskStats `json:"stats"`
}

type diskStats struct {
	ReadBytes    uint64 `json:"rd_bytes"`
	WriteBytes   uint64 `json:"wr_bytes"`
	MediumErrors uint64 `json:"x-medium-errors"`
	OtherErrors  uint64 `json:"x-other-errors"`
}

func (c *control) queryBlockStats(context.Context, qmp.None) ([]blockStats, error) {
	list := []blockStats{}
	for _, x := range c.m.disks.snapshot() {
		if x.device == "" {
			continue
		}
		t := c.m.controller.DriveTotals(x.id)
		list = append(list, blockStats{x.device, x.device, x.name, diskStats{t.BytesRead, t.BytesWritten, t.MediumErrors, t.OtherErrors}})
	}
	return list, nil
}

// allocated is the storage that a file takes on the host in bytes, 0 if that is not
// known.
func allocated(path string) int64 {
	const unit = 512
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Blocks * unit
}
