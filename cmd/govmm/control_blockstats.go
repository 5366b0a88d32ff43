package main

import (
	"context"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
)

// What is counted of disks (QEMU, qapi/block-core.json).

type blockStats struct {
	Device string    `json:"device,omitempty"`
	Qdev   string    `json:"qdev,omitempty"`
	Node   string    `json:"node-name"`
	Stats  diskStats `json:"stats"`
}

// diskStats counts what the controller asks of a medium. That is what QEMU's devices
// ask, but that a write-through volume's flushes are seen as such; a volume never asks
// for what is wrong in itself, and joins no requests. Times are sums over requests, in
// nanoseconds.
type diskStats struct {
	ReadBytes    uint64 `json:"rd_bytes"`
	WriteBytes   uint64 `json:"wr_bytes"`
	UnmapBytes   uint64 `json:"unmap_bytes"`
	Reads        uint64 `json:"rd_operations"`
	Writes       uint64 `json:"wr_operations"`
	Flushes      uint64 `json:"flush_operations"`
	Unmaps       uint64 `json:"unmap_operations"`
	ReadTime     int64  `json:"rd_total_time_ns"`
	WriteTime    int64  `json:"wr_total_time_ns"`
	FlushTime    int64  `json:"flush_total_time_ns"`
	UnmapTime    int64  `json:"unmap_total_time_ns"`
	HighestWrite int64  `json:"wr_highest_offset"`
	ReadsMerged  uint64 `json:"rd_merged"`
	WritesMerged uint64 `json:"wr_merged"`
	UnmapsMerged uint64 `json:"unmap_merged"`
	IdleTime     *int64 `json:"idle_time_ns,omitempty"` // since the last request, nil if there was none

	FailedReads    uint64 `json:"failed_rd_operations"`
	FailedWrites   uint64 `json:"failed_wr_operations"`
	FailedFlushes  uint64 `json:"failed_flush_operations"`
	FailedUnmaps   uint64 `json:"failed_unmap_operations"`
	InvalidReads   uint64 `json:"invalid_rd_operations"`
	InvalidWrites  uint64 `json:"invalid_wr_operations"`
	InvalidFlushes uint64 `json:"invalid_flush_operations"`
	InvalidUnmaps  uint64 `json:"invalid_unmap_operations"`
	AccountInvalid bool   `json:"account_invalid"` // whether these are in the times
	AccountFailed  bool   `json:"account_failed"`  // whether those are

	// Timed has figures of intervals that somebody asked for, which nobody can.
	Timed []qmp.None `json:"timed_stats"`

	// The errors that the drive's log pages have.
	MediumErrors uint64 `json:"x-medium-errors"`
	OtherErrors  uint64 `json:"x-other-errors"`
}

func describeStats(t block.AccountTotals) diskStats {
	s := diskStats{
		ReadBytes: t.Reads.Bytes, WriteBytes: t.Writes.Bytes, UnmapBytes: t.Discards.Bytes,
		Reads: t.Reads.Done, Writes: t.Writes.Done, Flushes: t.Flushes.Done, Unmaps: t.Discards.Done,
		ReadTime: int64(t.Reads.Time), WriteTime: int64(t.Writes.Time), FlushTime: int64(t.Flushes.Time), UnmapTime: int64(t.Discards.Time),
		HighestWrite: t.HighestWrite,
		FailedReads:  t.Reads.Failed, FailedWrites: t.Writes.Failed, FailedFlushes: t.Flushes.Failed, FailedUnmaps: t.Discards.Failed,
		AccountFailed: true,
		Timed:         []qmp.None{},
	}
	if t.Idle >= 0 {
		idle := int64(t.Idle)
		s.IdleTime = &idle
	}
	return s
}

type blockStatsArgs struct {
	// Nodes asks for all media, and not for the drives that some are in.
	Nodes bool `json:"query-nodes,omitempty"`
}

func (c *control) queryBlockStats(_ context.Context, a blockStatsArgs) ([]blockStats, error) {
	list := []blockStats{}
	for _, x := range c.m.disks.snapshot() {
		s := blockStats{Node: x.name, Stats: describeStats(x.account.Totals())}
		switch {
		case a.Nodes:
		case x.device == "":
			continue
		default:
			drive := c.m.controller.DriveTotals(x.id)
			s.Device, s.Qdev = x.device, x.device
			s.Stats.MediumErrors, s.Stats.OtherErrors = drive.MediumErrors, drive.OtherErrors
		}
		list = append(list, s)
	}
	return list, nil
}
