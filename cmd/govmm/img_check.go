package main

import (
	"fmt"
	"io"
	"os"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
	"github.com/spf13/cobra"
)

// Exit statuses of a check, those of qemu-img.
const (
	exitCorrupt = 2
	exitLeaks   = 3
)

// checkReport is the result of a check, with the keys and the order of qemu-img.
type checkReport struct {
	ImageEndOffset     int64  `json:"image-end-offset,omitempty"`
	CompressedClusters int64  `json:"compressed-clusters,omitempty"`
	TotalClusters      int64  `json:"total-clusters,omitempty"`
	Corruptions        int64  `json:"corruptions,omitempty"`
	CheckErrors        int64  `json:"check-errors"`
	Leaks              int64  `json:"leaks,omitempty"`
	AllocatedClusters  int64  `json:"allocated-clusters,omitempty"`
	Filename           string `json:"filename"`
	Format             string `json:"format"`
	FragmentedClusters int64  `json:"fragmented-clusters,omitempty"`
}

func (a *app) imgCheckCommand() *cobra.Command {
	output := choice{value: "human", allowed: []string{"human", "json"}}
	cmd := &cobra.Command{
		Use:   "check [flags] FILE",
		Short: "Check the consistency of a disk image",
		Long: `check compares every reference in a qcow2 image with the reference counts in it,
and says what does not fit. It changes nothing.

Exit status:
  0  nothing is wrong
  1  the check could not be done
  2  the image is corrupt
  3  the image has leaked clusters, which is waste of space but no harm to data`,
		Example: `  govmm img check disk.qcow2
  govmm img check --output json disk.qcow2`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.imgCheck(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			format := outputFormat{choice{value: "text"}}
			if output.value == "json" {
				format.value = "json"
			}
			if err := format.print(a.stdout, r, r.write); err != nil {
				return err
			}
			return r.verdict()
		},
	}
	imageFormat(cmd, "format", "f", "format of the image")
	cmd.Flags().Var(&output, "output", "how to print the result: human or json")
	output.complete(cmd, "output")
	return cmd
}

func (a *app) imgCheck(file string) (checkReport, error) {
	f, err := qcow2.OpenFile(file, os.O_RDONLY)
	if err != nil {
		return checkReport{}, err
	}
	if err := block.Lock(f, true); err != nil {
		f.Close()
		return checkReport{}, err
	}
	im, err := qcow2.Open(f, qcow2.Options{ReadOnly: true, NoBacking: true, NoDataFile: true})
	if err != nil {
		f.Close()
		return checkReport{}, err
	}
	defer im.Close()
	c, err := im.Check(qcow2.CheckOptions{Report: func(text string) { fmt.Fprintln(a.stderr, text) }})
	if err != nil {
		return checkReport{}, err
	}
	return checkReport{
		ImageEndOffset:     c.ImageEndOffset,
		CompressedClusters: c.CompressedClusters,
		TotalClusters:      c.TotalClusters,
		Corruptions:        c.Corruptions,
		CheckErrors:        c.CheckErrors,
		Leaks:              c.Leaks,
		AllocatedClusters:  c.AllocatedClusters,
		Filename:           file,
		Format:             "qcow2",
		FragmentedClusters: c.FragmentedClusters,
	}, nil
}

// verdict is the exit status.
func (r checkReport) verdict() error {
	switch {
	case r.CheckErrors > 0:
		return &exitError{code: exitFailure}
	case r.Corruptions > 0:
		return &exitError{code: exitCorrupt}
	case r.Leaks > 0:
		return &exitError{code: exitLeaks}
	}
	return nil
}

func (r checkReport) write(w io.Writer) {
	if r.Corruptions+r.Leaks+r.CheckErrors == 0 {
		fmt.Fprintln(w, "No errors were found on the image.")
	}
	if r.Corruptions > 0 {
		fmt.Fprintf(w, "\n%d errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n", r.Corruptions)
	}
	if r.Leaks > 0 {
		fmt.Fprintf(w, "\n%d leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n", r.Leaks)
	}
	if r.CheckErrors > 0 {
		fmt.Fprintf(w, "\n%d internal errors have occurred during the check.\n", r.CheckErrors)
	}
	if r.TotalClusters != 0 && r.AllocatedClusters != 0 {
		percent := func(n, of int64) float64 { return float64(n) * 100 / float64(of) }
		fmt.Fprintf(w, "%d/%d = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
			r.AllocatedClusters, r.TotalClusters, percent(r.AllocatedClusters, r.TotalClusters),
			percent(r.FragmentedClusters, r.AllocatedClusters), percent(r.CompressedClusters, r.AllocatedClusters))
	}
	if r.ImageEndOffset != 0 {
		fmt.Fprintf(w, "Image end offset: %d\n", r.ImageEndOffset)
	}
}
