package main

import (
	"cmp"
	"context"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
	"golang.org/x/sys/unix"
)

// What is told of disks (QEMU, qapi/block-core.json).

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

type blockInfo struct {
	Device    string    `json:"device"`
	Qdev      string    `json:"qdev,omitempty"`
	Type      string    `json:"type"`
	Removable bool      `json:"removable"`
	Locked    bool      `json:"locked"`
	Inserted  *nodeInfo `json:"inserted,omitempty"`
	IOStatus  ioStatus  `json:"io-status,omitempty"`
}

// ioStatus says whether a drive's errors have stopped the machine.
type ioStatus string

const (
	ioStatusOK      ioStatus = "ok"
	ioStatusFailed  ioStatus = "failed"
	ioStatusNoSpace ioStatus = "nospace"
)

// QMPValues implements qmp.Enum.
func (ioStatus) QMPValues() []string {
	return enumeration(ioStatusOK, ioStatusFailed, ioStatusNoSpace)
}

// ioStatuses are those of drives that are not well, by device id.
func (c *control) ioStatuses() map[uint16]ioStatus {
	list := map[uint16]ioStatus{}
	for _, s := range c.m.controller.Stalled() {
		switch {
		case list[s.Drive] != "": // the first failure counts
		case s.NoSpace:
			list[s.Drive] = ioStatusNoSpace
		default:
			list[s.Drive] = ioStatusFailed
		}
	}
	return list
}

// detectZeroes says whether zeroes that are written take no storage.
type detectZeroes string

const detectZeroesOff detectZeroes = "off"

// QMPValues implements qmp.Enum.
func (detectZeroes) QMPValues() []string { return enumeration(detectZeroesOff) }

type nodeInfo struct {
	File           string       `json:"file"`
	Node           string       `json:"node-name"`
	ReadOnly       bool         `json:"ro"`
	Driver         string       `json:"drv"`
	Encrypted      bool         `json:"encrypted"`
	BackingFile    string       `json:"backing_file,omitempty"`
	BackingDepth   int          `json:"backing_file_depth"`
	DetectZeroes   detectZeroes `json:"detect_zeroes"`
	BPS            int          `json:"bps"`
	BPSRead        int          `json:"bps_rd"`
	BPSWrite       int          `json:"bps_wr"`
	IOPS           int          `json:"iops"`
	IOPSRead       int          `json:"iops_rd"`
	IOPSWrite      int          `json:"iops_wr"`
	WriteThreshold int          `json:"write_threshold"`
	Cache          cacheInfo    `json:"cache"`
	Image          imageInfo    `json:"image"`
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
	ActualSize  *int64         `json:"actual-size,omitempty"`
	ClusterSize int64          `json:"cluster-size,omitempty"`
	Encrypted   bool           `json:"encrypted,omitempty"`
	DirtyFlag   bool           `json:"dirty-flag"`
	Backing     string         `json:"backing-filename,omitempty"`
	BackingFmt  string         `json:"backing-filename-format,omitempty"`
	Snapshots   []snapshotInfo `json:"snapshots,omitempty"`
	Specific    *specificInfo  `json:"format-specific,omitempty"`
}

// specificInfo is what only qcow2 images have.
type specificInfo struct {
	Type string    `json:"type"`
	Data qcow2Info `json:"data"`
}

type qcow2Info struct {
	Compat        string `json:"compat"`
	Compression   string `json:"compression-type"`
	RefcountBits  int    `json:"refcount-bits"`
	LazyRefcounts *bool  `json:"lazy-refcounts,omitempty"` // from version 3 on, as what follows
	Corrupt       *bool  `json:"corrupt,omitempty"`
	ExtendedL2    *bool  `json:"extended-l2,omitempty"`
	DataFile      string `json:"data-file,omitempty"`
	DataFileRaw   *bool  `json:"data-file-raw,omitempty"`
}

func describeQCOW2(q *qcow2.Info) *specificInfo {
	const version3 = 3
	d := qcow2Info{Compat: "0.10", Compression: q.Compression.String(), RefcountBits: q.RefcountBits}
	if q.Version >= version3 {
		d.Compat = "1.1"
		d.LazyRefcounts, d.Corrupt, d.ExtendedL2 = &q.LazyRefcounts, &q.Corrupt, &q.ExtendedL2
	}
	if q.HasDataFile {
		d.DataFile, d.DataFileRaw = q.DataFile, &q.RawData
	}
	return &specificInfo{"qcow2", d}
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

// writesBack reports whether writes to a disk are complete before they are durable.
func (c *control) writesBack(x disk) bool {
	return x.spec.cache == raid.WriteBack || x.spec.cache == raid.WriteBackWithBattery && c.m.controller.Battery() == megasas.BatteryGood
}

func (c *control) describeNode(x disk) *nodeInfo {
	path := x.spec.medium.Path
	n := &nodeInfo{
		File: path, Node: x.name, ReadOnly: x.medium.ReadOnly(), Driver: driverOf(x),
		DetectZeroes: detectZeroesOff,
		Cache:        cacheInfo{c.writesBack(x), x.spec.medium.Direct, x.spec.medium.NoFlush},
		Image:        imageInfo{Filename: path, Format: driverOf(x), VirtualSize: x.medium.Size(), ActualSize: allocated(path)},
	}
	if path == "" {
		n.File = driverOf(x) + "://"
		n.Image.Filename = n.File
	}
	im, ok := x.medium.(*qcow2.Image)
	if !ok {
		return n
	}
	info := im.Info()
	n.BackingFile, n.BackingDepth = info.BackingFile, len(block.Files(im))-1
	n.Image.ClusterSize, n.Image.DirtyFlag = info.ClusterSize, info.Dirty
	n.Image.Backing, n.Image.BackingFmt = info.BackingFile, info.BackingFormat
	n.Encrypted = info.Encryption != nil
	n.Image.Encrypted = n.Encrypted
	for _, s := range info.Snapshots {
		n.Image.Snapshots = append(n.Image.Snapshots, describeSnapshot(s))
	}
	n.Image.Specific = describeQCOW2(&info)
	return n
}

func (c *control) queryBlock(context.Context, qmp.None) ([]blockInfo, error) {
	list := []blockInfo{}
	statuses := c.ioStatuses()
	for _, x := range c.m.disks.snapshot() {
		if x.device != "" {
			list = append(list, blockInfo{
				Device: x.device, Qdev: x.device, Type: "unknown", IOStatus: cmp.Or(statuses[x.id], ioStatusOK), Inserted: c.describeNode(x),
			})
		}
	}
	return list, nil
}

type nodesArgs struct {
	// Flat leaves out what is known of backing files, which never is in the answer.
	Flat bool `json:"flat,omitempty"`
}

func (c *control) queryNodes(context.Context, nodesArgs) ([]*nodeInfo, error) {
	list := []*nodeInfo{}
	for _, x := range c.m.disks.snapshot() {
		list = append(list, c.describeNode(x))
	}
	return list, nil
}

// allocated is the storage that a file takes on the host in bytes, nil if that is not
// known.
func allocated(path string) *int64 {
	const unit = 512
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return nil
	}
	n := st.Blocks * unit
	return &n
}
