package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/spf13/cobra"
)

func (c *ctl) diskCommand() *cobra.Command {
	return group("disk", "Add, remove, list and resize disks",
		&cobra.Command{
			Use: "list", Short: "List the disks", Args: arguments(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.do(cmd.Context(), c.listDisks) },
		},
		&cobra.Command{
			Use: "add NAME path=FILE[,KEY=VALUE]...", Short: "Put a disk into a free slot of the controller", Args: arguments(2, 2),
			Long: `add opens an image and puts it into a free slot of the controller, where the guest
finds it without having to look. The keys are path, format, size, readonly, cache,
serial, werror and rerror, as those of "govmm run --disk".`,
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error { return addDisk(ctx, m, args[0], args[1]) })
			},
		},
		&cobra.Command{
			Use: "remove NAME", Short: "Take a disk out, when what is under way on it has ended", Args: arguments(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error { return removeDisk(ctx, m, args[0]) })
			},
		},
		&cobra.Command{
			Use: "resize NAME SIZE", Short: "Make a disk larger", Args: arguments(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				size, err := parseSize(args[1], 1)
				if err != nil {
					return err
				}
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
					return m.Do(ctx, "block_resize", resizeArgs{Node: args[0], Size: int64(size)}, nil)
				})
			},
		},
	)
}

func (c *ctl) listDisks(ctx context.Context, m *qmp.Client) error {
	var disks []blockInfo
	if err := m.Do(ctx, "query-block", nil, &disks); err != nil {
		return err
	}
	return c.print(disks, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "NAME\tSIZE\tFORMAT\tMODE\tFILE")
		for _, d := range disks {
			mode := "writethrough"
			switch {
			case d.Inserted.ReadOnly:
				mode = "readonly"
			case d.Inserted.Cache.Writeback:
				mode = "writeback"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Device, formatSize(uint64(d.Inserted.Image.VirtualSize)), d.Inserted.Driver, mode, d.Inserted.File)
		}
		_ = t.Flush()
	})
}

// addDisk opens a medium and puts it into a drive of the same name.
func addDisk(ctx context.Context, m *qmp.Client, name, text string) error {
	spec, rest, err := block.ParseSpec(text)
	if err != nil {
		return err
	}
	d := diskSpec{text: text, medium: spec, cache: raid.WriteThrough, onError: defaultErrorPolicy}
	for _, key := range slices.Sorted(maps.Keys(rest)) {
		if !slices.Contains([]string{"cache", "serial", "werror", "rerror"}, key) {
			return fmt.Errorf("disk %q: unknown key %q: must be path, format, size, readonly, cache, serial, werror or rerror", text, key)
		}
		if err := d.set(key, rest[key]); err != nil {
			return fmt.Errorf("disk %q: %w", text, err)
		}
	}
	if d.cache == raid.WriteBackWithBattery {
		return fmt.Errorf("disk %q: cache=%s: only disks of the command line can have it", text, withBattery)
	}
	if known := (block.Spec{Path: spec.Path, Format: spec.Format, ReadOnly: spec.ReadOnly, Size: spec.Size}); known != spec {
		return fmt.Errorf("disk %q: only the keys path, format, size, readonly, cache, serial, werror and rerror are allowed here", text)
	}
	path, err := inPlace(spec.Path)
	if err != nil {
		return err
	}
	node := nodeArgs{Node: name, ReadOnly: spec.ReadOnly, Cache: cacheArgs{d.medium.Direct, d.medium.NoFlush}}
	if spec.Format == block.FormatNull {
		node.Driver, node.Size = nodeNull, spec.Size
	} else {
		node.Driver = nodeKind(cmp.Or(spec.Format, block.FormatQCOW2))
		node.File = &fileArgs{Driver: nodeFile, Filename: path}
	}
	if err := m.Do(ctx, "blockdev-add", node, nil); err != nil {
		return err
	}
	device := deviceArgs{Driver: driveDriver, ID: name, Drive: name, Serial: d.serial, WriteCache: writeCacheOff,
		ReadError: onError(d.onError.Read.String()), WriteError: onError(d.onError.Write.String())}
	if d.cache == raid.WriteBack {
		device.WriteCache = writeCacheOn
	}
	if err := m.Do(ctx, "device_add", device, nil); err != nil {
		return errors.Join(err, m.Do(ctx, "blockdev-del", nodeName{name}, nil))
	}
	return nil
}

// removeDisk takes a drive out, waits until it is gone, and closes its medium.
func removeDisk(ctx context.Context, m *qmp.Client, name string) error {
	var disks []blockInfo
	if err := m.Do(ctx, "query-block", nil, &disks); err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(d blockInfo) bool { return d.Device == name })
	if err := m.Do(ctx, "device_del", deviceID{name}, nil); err != nil {
		return err
	}
	for gone := false; !gone; {
		select {
		case e, ok := <-m.Events():
			var d deviceData
			if !ok {
				return errors.New("the machine ended before the disk was out")
			}
			gone = e.Name == "DEVICE_DELETED" && json.Unmarshal(e.Data, &d) == nil && d.Device == name
		case <-ctx.Done():
			return fmt.Errorf("the disk is still in use: %w", context.Cause(ctx))
		}
	}
	if i < 0 {
		return nil
	}
	return m.Do(ctx, "blockdev-del", nodeName{disks[i].Inserted.Node}, nil)
}

func (c *ctl) snapshotCommand() *cobra.Command {
	return group("snapshot", "Create, delete and list snapshots in qcow2 images",
		&cobra.Command{
			Use: "create DISK NAME", Short: "Keep the present contents of a disk in its image", Args: arguments(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
					return m.Do(ctx, "blockdev-snapshot-internal-sync", snapshotArgs{args[0], args[1]}, nil)
				})
			},
		},
		&cobra.Command{
			Use: "delete DISK NAME", Short: "Delete a snapshot", Args: arguments(2, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error {
					return m.Do(ctx, "blockdev-snapshot-delete-internal-sync", snapshotDeleteArgs{Device: args[0], Name: args[1]}, nil)
				})
			},
		},
		&cobra.Command{
			Use: "list DISK", Short: "List the snapshots of a disk", Args: arguments(1, 1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.do(cmd.Context(), func(ctx context.Context, m *qmp.Client) error { return c.listSnapshots(ctx, m, args[0]) })
			},
		},
	)
}

func (c *ctl) listSnapshots(ctx context.Context, m *qmp.Client, name string) error {
	var nodes []*nodeInfo
	if err := m.Do(ctx, "query-named-block-nodes", nil, &nodes); err != nil {
		return err
	}
	i := slices.IndexFunc(nodes, func(n *nodeInfo) bool { return n.Node == name })
	if i < 0 {
		return fmt.Errorf("there is no disk %q", name)
	}
	list := append([]snapshotInfo{}, nodes[i].Image.Snapshots...)
	return c.print(list, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "ID\tNAME\tDATE")
		for _, s := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\n", s.ID, s.Name, time.Unix(s.DateSec, s.DateNsec).Format(time.DateTime))
		}
		_ = t.Flush()
	})
}

// write prints figures for people.
func (s statsInfo) write(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, kind := range slices.Sorted(maps.Keys(s.Machine.Exits)) {
		fmt.Fprintf(t, "%d\t\texits: %s\n", s.Machine.Exits[kind], kind)
	}
	for _, r := range slices.Concat(s.Machine.Ports, s.Machine.Memory) {
		name := r.Name
		if name == "" {
			name = "addresses where nothing is"
		}
		fmt.Fprintf(t, "%d\t\taccesses: %s\n", r.Reads+r.Writes, name)
	}
	k := s.Controller
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{s.Machine.Messages, "messages"}, {s.Machine.Undelivered, "messages undelivered"}, {s.Machine.LineChanges, "changes of interrupt lines"},
		{k.Posted, "frames posted"}, {k.Completed, "frames completed"}, {k.Abandoned, "frames abandoned"},
		{k.Dropped, "frames dropped"}, {k.Batches, "batches of replies"}, {k.Interrupts, "interrupts of the controller"},
		{s.Process.Goroutines, "goroutines"}, {uint64(s.Process.Files), "open files"}, {s.Process.Heap, "bytes of heap in use"},
	} {
		fmt.Fprintf(t, "%d\t\t%s\n", x.n, x.what)
	}
	_ = t.Flush()
}
