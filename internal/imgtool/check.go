package imgtool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

var checkCommand = command{
	name: "check", synopsis: "[-f FMT] [--output=OFMT] [-r [leaks | all]] [-T SRC_CACHE] [-q] [-U] FILE",
	about: "check the consistency of an image, and repair it",
	flags: []flag{
		flagFormat2, {'r', "repair", "WHAT", "repair leaks, or all"}, flagOutput,
		{'T', "", "CACHE", "cache mode"}, flagQuiet, flagShare, flagObject, flagImageOpts,
	},
	run: runCheck,
}

// flagFormat2 is -f of the commands in which it has a long name.
var flagFormat2 = flag{'f', "format", "FMT", "format of the image"}

// Exit statuses of check.
const (
	exitCorrupt     = 2
	exitLeaks       = 3
	exitUnsupported = 63
)

func runCheck(t *Tool, a *arguments) error {
	repair := qcow2.RepairNone
	if a.has("repair") {
		switch a.get("repair", "") {
		case "leaks":
			repair = qcow2.RepairLeaks
		case "all":
			repair = qcow2.RepairAll
		default:
			return usage("Unknown option value for -r (expecting 'leaks' or 'all'): %s", a.get("repair", ""))
		}
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	if err := checkCache(a.get("T", ""), true); err != nil {
		return err
	}
	s, err := t.locate(name, a.has("image-opts"), openOptions{format: a.get("format", ""), write: repair != qcow2.RepairNone, share: a.has("force-share")})
	if err != nil {
		return err
	}
	s.spec.LeaveBacking = true
	if s.spec.Format != block.FormatQCOW2 {
		d, err := t.openSource(s, openOptions{write: !s.spec.ReadOnly})
		if err != nil {
			return err
		}
		return errors.Join(&statusError{exitUnsupported, errors.New("This image format does not support checks")}, d.Close())
	}
	if err := filesBelow(s.spec); err != nil {
		return openError(name, err)
	}
	f, err := s.spec.OpenStorage()
	if err != nil {
		return openError(name, err)
	}
	// A check needs no passphrase, but qemu-img asks for it.
	secret := func() ([]byte, error) {
		if s.spec.Secret == "" {
			return nil, nil
		}
		return []byte(s.spec.Secret), nil
	}
	o := qcow2.Options{
		ReadOnly: repair == qcow2.RepairNone, ForRepair: true, NoBacking: true, NoDataFile: true, Secret: secret,
	}
	if s.spec.Report != nil {
		o.StaleBitmaps = func(version int) { t.StaleBitmaps(name, version) }
	}
	if debug := s.spec.Debug; debug != nil {
		f, o.Event = debug.Wrap(f), debug.Event
	}
	im, err := qcow2.Open(f, o)
	if err != nil {
		return errors.Join(openError(name, err), f.Close())
	}
	defer im.Close()
	quiet := a.has("q")
	report := func(text string) { fmt.Fprintln(t.Stderr, text) } // -q or not, as qemu-img
	r, err := im.Check(qcow2.CheckOptions{Repair: repair, Report: report})
	if err := t.unreadSnapshots(err); err != nil {
		return err
	}
	if errors.Is(err, qcow2.ErrCorrupt) {
		return fmt.Errorf("Check failed: %s", capital(err.Error()))
	}
	if err != nil {
		return fmt.Errorf("Check failed: %s", reason(err))
	}
	fixed := r.CorruptionsFixed+r.LeaksFixed > 0
	if fixed && !asJSON && !quiet {
		t.printf("The following inconsistencies were found and repaired:\n\n    %d leaked clusters\n    %d corruptions\n\n"+
			"Double checking the fixed image now...\n", r.LeaksFixed, r.CorruptionsFixed)
	}
	if fixed {
		again, err := im.Check(qcow2.CheckOptions{Report: report})
		if err != nil {
			return fmt.Errorf("Check failed: %s", reason(err))
		}
		again.CorruptionsFixed, again.LeaksFixed = r.CorruptionsFixed, r.LeaksFixed
		r = again
	}
	if !quiet {
		if asJSON {
			t.printf("%s\n", marshal(checkDict(s.fileName(), &r)))
		} else {
			t.printf("%s", checkText(&r))
		}
	}
	switch {
	case r.CheckErrors > 0:
		return &statusError{code: 1}
	case r.Corruptions > 0:
		return &statusError{code: exitCorrupt}
	case r.Leaks > 0:
		return &statusError{code: exitLeaks}
	}
	return nil
}

// filesBelow refuses an image whose external data file or backing files can't be opened. The check does not
// need them, but qemu-img opens them. What is wrong with the image itself is for the check to say.
func filesBelow(spec block.Spec) error {
	if spec.Debug != nil { // its rules count what is done
		return nil
	}
	spec.ReadOnly, spec.LeaveBacking, spec.Report = true, false, nil
	d, err := block.Open(spec)
	if err == nil {
		return d.Close()
	}
	var missing *fs.PathError
	if errors.As(err, new(*qcow2.BackingError)) || errors.As(err, &missing) && missing.Path != spec.Path {
		return err
	}
	return nil
}

// unreadSnapshots says of a check that could not read the snapshot table why, and returns what
// is left to be said; nil if err is something else.
func (t *Tool) unreadSnapshots(err error) error {
	var unread *qcow2.SnapshotTableError
	var image *qcow2.ImageError
	if !errors.As(err, &unread) || !errors.As(err, &image) {
		return nil
	}
	what := "failed to read the snapshot table: " + image.Problem
	if image.Problem == qcow2.TooManySnapshots {
		what = image.Problem
	}
	t.complain(hinted(errors.New("ERROR "+what), image.Hint))
	return errors.New("Check failed: " + errnoText(syscall.EFBIG))
}

func checkDict(name string, r *qcow2.CheckResult) dict {
	d := dict{"filename": name, "format": "qcow2", "check-errors": r.CheckErrors}
	for key, n := range map[string]int64{
		"image-end-offset": r.ImageEndOffset, "corruptions": r.Corruptions, "leaks": r.Leaks,
		"corruptions-fixed": r.CorruptionsFixed, "leaks-fixed": r.LeaksFixed,
		"total-clusters": r.TotalClusters, "allocated-clusters": r.AllocatedClusters,
		"fragmented-clusters": r.FragmentedClusters, "compressed-clusters": r.CompressedClusters,
	} {
		if n != 0 {
			d[key] = n
		}
	}
	return d
}

// checkText is the result for people.
func checkText(r *qcow2.CheckResult) string {
	var b strings.Builder
	if r.Corruptions+r.Leaks+r.CheckErrors == 0 {
		b.WriteString("No errors were found on the image.\n")
	}
	if r.Corruptions > 0 {
		fmt.Fprintf(&b, "\n%d errors were found on the image.\n"+
			"Data may be corrupted, or further writes to the image may corrupt it.\n", r.Corruptions)
	}
	if r.Leaks > 0 {
		fmt.Fprintf(&b, "\n%d leaked clusters were found on the image.\n"+
			"This means waste of disk space, but no harm to data.\n", r.Leaks)
	}
	if r.CheckErrors > 0 {
		fmt.Fprintf(&b, "\n%d internal errors have occurred during the check.\n", r.CheckErrors)
	}
	if r.TotalClusters != 0 && r.AllocatedClusters != 0 {
		percent := func(n, of int64) float64 { return float64(n) * 100 / float64(of) }
		fmt.Fprintf(&b, "%d/%d = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
			r.AllocatedClusters, r.TotalClusters, percent(r.AllocatedClusters, r.TotalClusters),
			percent(r.FragmentedClusters, r.AllocatedClusters), percent(r.CompressedClusters, r.AllocatedClusters))
	}
	if r.ImageEndOffset != 0 {
		fmt.Fprintf(&b, "Image end offset: %d\n", r.ImageEndOffset)
	}
	return b.String()
}
