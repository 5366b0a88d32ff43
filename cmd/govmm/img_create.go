package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
	"github.com/spf13/cobra"
)

// createFlags are the flags of govmm img create.
type createFlags struct {
	backing       string
	backingFormat choice
	options       []string
	quiet         bool
}

func (a *app) imgCreateCommand() *cobra.Command {
	f := createFlags{backingFormat: choice{allowed: []string{"qcow2", "raw"}}}
	cmd := &cobra.Command{
		Use:   "create [flags] FILE [SIZE]",
		Short: "Create a disk image",
		Long: `create makes an empty qcow2 image; what was in FILE is lost. SIZE is the capacity
of the disk, in bytes or with a unit K, M, G, T, P or E. With a backing file the
disk starts with the content of that one, which must not change any more, and
SIZE may be left out. A relative name of a backing file is relative to FILE.

Options of -o:
  cluster_size=SIZE      512 to 2M, a power of two (64K)
  refcount_bits=N        1 to 64, a power of two (16)
  lazy_refcounts=on|off  (off)
  compat=0.10|1.1        version of the format: 2 or 3 (1.1)
  preallocation=off|metadata|falloc|full
                         what is there before it is written to: nothing, the
                         mapping, its storage too, zeroes in that (off)
  data_file=FILE         holds the data, FILE of the image only the mapping; what
                         was in it is lost
  data_file_raw=on|off   the data file reads as the disk does (off)`,
		Example: `  govmm img create disk.qcow2 20G
  govmm img create -o cluster_size=128K big.qcow2 2T
  govmm img create -b base.qcow2 -F qcow2 overlay.qcow2`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.imgCreate(f, args); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	imageFormat(cmd, "format", "f", "format of the image")
	fl.StringVarP(&f.backing, "backing", "b", "", "`FILE` that the disk starts with")
	fl.VarP(&f.backingFormat, "backing-format", "F", "format of the backing file")
	f.backingFormat.complete(cmd, "backing-format")
	fl.StringArrayVarP(&f.options, "option", "o", nil, "`KEY=VALUE`,... of the format; may be given several times")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing")
	return cmd
}

func (a *app) imgCreate(f createFlags, args []string) error {
	file := args[0]
	o := qcow2.CreateOptions{
		Version: qcow2.DefaultVersion, ClusterSize: qcow2.DefaultClusterSize, RefcountBits: qcow2.DefaultRefcountBits,
		BackingFile: f.backing, BackingFormat: f.backingFormat.value,
	}
	for _, list := range f.options {
		if err := setCreateOptions(&o, list); err != nil {
			return fmt.Errorf("-o %w", err)
		}
	}
	if err := createSize(&o, file, args[1:]); err != nil {
		return err
	}
	if !f.quiet {
		fmt.Fprintln(a.stdout, formatting(file, o))
	}
	return createImage(file, o)
}

// createImage makes the image. A file that was not there before does not stay
// behind if that fails.
func createImage(file string, o qcow2.CreateOptions) error {
	_, err := os.Lstat(file)
	isNew := errors.Is(err, fs.ErrNotExist)
	// Not truncated here: bad options are found before anything is lost.
	out, err := qcow2.OpenFile(file, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err = block.Lock(out, false); err == nil {
		err = createIn(out, o)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil && isNew {
		os.Remove(file)
	}
	return err
}

// createIn makes the image in out, and its external data file.
func createIn(out *qcow2.OSFile, o qcow2.CreateOptions) error {
	if o.DataFile == "" {
		return qcow2.Create(out, o)
	}
	_, err := os.Lstat(o.DataFile)
	isNew := errors.Is(err, fs.ErrNotExist)
	data, err := qcow2.OpenFile(o.DataFile, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	o.Data = data
	image, err := out.Identity()
	if err == nil {
		var id qcow2.FileID
		if id, err = data.Identity(); err == nil && id == image {
			err = fmt.Errorf("data_file=%s: that is the image", o.DataFile)
		}
	}
	if err == nil {
		err = qcow2.Create(out, o)
	}
	if err = errors.Join(err, data.Close()); err != nil && isNew {
		os.Remove(o.DataFile)
	}
	return err
}

// setCreateOptions applies one -o.
func setCreateOptions(o *qcow2.CreateOptions, list string) error {
	options, err := parseOptions(list)
	if err != nil {
		return err
	}
	for _, opt := range options {
		switch opt.key {
		case "cluster_size":
			n, err := parseSize(opt.value, 1)
			if err != nil {
				return fmt.Errorf("cluster_size: %w", err)
			}
			o.ClusterSize = int64(n)
		case "refcount_bits":
			if o.RefcountBits, err = strconv.Atoi(opt.value); err != nil || o.RefcountBits == 0 {
				return fmt.Errorf("refcount_bits=%s: must be a power of two up to 64", opt.value)
			}
		case "lazy_refcounts":
			if o.LazyRefcounts, err = opt.onOff(); err != nil {
				return err
			}
		case "data_file":
			o.DataFile = opt.value
		case "data_file_raw":
			if o.DataFileRaw, err = opt.onOff(); err != nil {
				return err
			}
		case "preallocation":
			if o.Preallocation, err = preallocation(opt.value); err != nil {
				return err
			}
		case "compat":
			version, ok := map[string]int{"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}[opt.value]
			if !ok {
				return fmt.Errorf("compat=%s: must be 0.10 or 1.1", opt.value)
			}
			o.Version = version
		default:
			return fmt.Errorf("%s: unknown option, or not supported", opt.key)
		}
	}
	if o.ClusterSize == 0 {
		return errors.New("cluster_size=0: must be 512 to 2M")
	}
	return nil
}

// onOff is the value of a switch.
func (opt option) onOff() (bool, error) {
	if opt.value != "on" && opt.value != "off" {
		return false, fmt.Errorf("%s=%s: must be on or off", opt.key, opt.value)
	}
	return opt.value == "on", nil
}

// preallocation reads a value of that option.
func preallocation(value string) (qcow2.Preallocation, error) {
	for p := qcow2.PreallocateOff; p <= qcow2.PreallocateFull; p++ {
		if p.String() == value {
			return p, nil
		}
	}
	return 0, fmt.Errorf("preallocation=%s: must be off, metadata, falloc or full", value)
}

// createSize finds the size of the disk: what was asked for, or that of the
// backing file, which must be there in any case.
func createSize(o *qcow2.CreateOptions, file string, args []string) error {
	if o.BackingFile != "" {
		if o.BackingFormat == "" {
			return errors.New("a backing file (-b) needs its format: -F qcow2 or -F raw")
		}
		backing := o.BackingFile
		if !filepath.IsAbs(backing) {
			backing = filepath.Join(filepath.Dir(file), backing)
		}
		size, err := backingSize(backing, o.BackingFormat)
		if err != nil {
			return err
		}
		o.Size = size
	} else if o.BackingFormat != "" {
		return errors.New("a format of the backing file (-F) without one (-b)")
	}
	if len(args) == 1 {
		size, err := parseSize(args[0], 1)
		if err != nil {
			return err
		}
		o.Size = int64(size)
	} else if o.BackingFile == "" {
		return errors.New("a size is needed, as in 20G")
	}
	return nil
}

// backingSize is the size of the disk in a backing file, in whole sectors.
func backingSize(file, format string) (int64, error) {
	f, err := qcow2.OpenFile(file, os.O_RDONLY)
	if err != nil {
		return 0, fmt.Errorf("backing file: %w", err)
	}
	if format == "raw" {
		defer f.Close()
		size, err := f.Size()
		const sector = 512
		return size + -size&(sector-1), err
	}
	im, err := qcow2.Open(f, qcow2.Options{ReadOnly: true, NoBacking: true, NoDataFile: true})
	if err != nil {
		f.Close()
		return 0, fmt.Errorf("backing file %s: %w", file, err)
	}
	defer im.Close()
	return im.Size(), nil
}

// formatting is the line that qemu-img prints for a new image.
func formatting(file string, o qcow2.CreateOptions) string {
	quote := strings.NewReplacer(",", ",,")
	onOff := map[bool]string{true: "on", false: "off"}
	var s strings.Builder
	fmt.Fprintf(&s, "Formatting '%s', fmt=qcow2 cluster_size=%d extended_l2=off", file, o.ClusterSize)
	if o.Preallocation != qcow2.PreallocateOff {
		fmt.Fprintf(&s, " preallocation=%v", o.Preallocation)
	}
	fmt.Fprintf(&s, " compression_type=zlib size=%d", o.Size)
	if o.Version == 2 {
		s.WriteString(" compat=0.10")
	}
	if o.BackingFile != "" {
		fmt.Fprintf(&s, " backing_file=%s backing_fmt=%s", quote.Replace(o.BackingFile), o.BackingFormat)
	}
	if o.DataFile != "" {
		fmt.Fprintf(&s, " data_file=%s", quote.Replace(o.DataFile))
	}
	if o.DataFileRaw {
		s.WriteString(" data_file_raw=on")
	}
	fmt.Fprintf(&s, " lazy_refcounts=%s refcount_bits=%d", onOff[o.LazyRefcounts], o.RefcountBits)
	return s.String()
}
