package imgtool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

var snapshotCommand = command{
	name: "snapshot", synopsis: "[-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILE",
	about: "list, create, apply and delete snapshots inside an image",
	flags: []flag{
		{'l', "", "", "list them"}, {'a', "", "SNAPSHOT", "go back to one, by ID or name"}, {'c', "", "SNAPSHOT", "create one"},
		{'d', "", "SNAPSHOT", "delete one, by its name"}, flagQuiet, flagShare, flagObject, flagImageOpts,
	},
	run: runSnapshot,
}

func runSnapshot(t *Tool, a *arguments) (err error) {
	action, snapshot := "", ""
	for _, o := range a.options {
		switch o.name {
		case "l", "a", "c", "d":
			if action != "" {
				return usage("Cannot mix '-l', '-a', '-c', '-d'")
			}
			action, snapshot = o.name, o.value
		}
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	list := action == "" || action == "l"
	if action == "" {
		action = "none"
	}
	o := openOptions{write: !list}
	im, err := t.openImage(name, a, o, errNoSnapshots(action, snapshot))
	if err != nil {
		if list && errors.Is(err, errSilent) {
			return nil
		}
		if action == "a" && t.Name == qemuImg {
			t.warnAgain(name, a, o)
		}
		return err
	}
	defer closing(im, &err)
	switch action {
	case "c":
		// No machine has run: none of its instructions.
		if _, err := im.CreateSnapshot(qcow2.SnapshotOptions{Name: snapshot, ICount: new(int64)}); err != nil {
			return fmt.Errorf("Could not create snapshot '%s': %s", snapshot, numbered(err, len(im.Snapshots())))
		}
	case "a":
		if list, err := im.Bitmaps(); err == nil && len(list) > 0 {
			return fmt.Errorf("Could not apply snapshot '%s': Device has active dirty bitmaps", snapshot)
		}
		err := im.ApplySnapshot(snapshot)
		if image := misplaced(err); image != nil {
			t.complain(errors.New(image.Problem))
			err = syscall.EINVAL
			if strings.HasSuffix(image.Problem, "too large") {
				err = syscall.EFBIG
			}
			return fmt.Errorf("Could not apply snapshot '%s': Failed to load snapshot: %s", snapshot, reason(err))
		}
		if err != nil {
			return fmt.Errorf("Could not apply snapshot '%s': %s", snapshot, snapshotReason(err))
		}
	case "d":
		err := qcow2.ErrNoSnapshot
		named := func(s qcow2.SnapshotInfo) bool { return s.Name == snapshot }
		if slices.ContainsFunc(im.Snapshots(), named) { // not by an ID, unlike -a
			err = im.DeleteSnapshot(snapshot)
		}
		if errors.Is(err, qcow2.ErrNoSnapshot) {
			return fmt.Errorf("Could not delete snapshot '%s': snapshot not found", snapshot)
		}
		if err != nil {
			return fmt.Errorf("Could not delete snapshot '%s': %s", snapshot, reason(err))
		}
	case "l":
		if all := im.Snapshots(); len(all) > 0 {
			t.printf("%s", snapshotTable(all))
		}
	}
	return nil
}

// warnAgain repeats the warning of a guessed raw format, as qemu-img has it: before it finds that such a
// disk has no snapshots to go back to, it opens it once more.
func (t *Tool) warnAgain(name string, a *arguments, o openOptions) {
	if s, err := t.locate(name, a.has("image-opts"), o); err == nil {
		t.warnGuess(s, o)
	}
}

// errSilent marks an error that nothing is said of.
var errSilent = errors.New("nothing to say")

// maxSnapshots is how many snapshots an image can have.
const maxSnapshots = 65536

// numbered is the error of making one more snapshot, as its negative number and its text,
// where it has one.
func numbered(err error, snapshots int) string {
	no := syscall.Errno(0)
	switch {
	case errors.Is(err, qcow2.ErrTooLarge) && snapshots == maxSnapshots:
		no = syscall.EFBIG
	case errors.Is(err, qcow2.ErrTooLarge): // more references to a cluster than are counted
		no = syscall.EINVAL
	case errors.Is(err, qcow2.ErrCorrupt):
		no = syscall.EIO
	case errors.Is(err, qcow2.ErrUnsupported):
		no = syscall.ENOTSUP
	case !errors.As(err, &no):
		return reason(err)
	}
	return fmt.Sprintf("-%d (%s)", int(no), errnoText(no))
}

// errNoSnapshots is the error of an action on an image of a format without
// snapshots.
func errNoSnapshots(action, snapshot string) error {
	switch action {
	case "c":
		return fmt.Errorf("Could not create snapshot '%s': -95 (Operation not supported)", snapshot)
	case "a":
		return fmt.Errorf("Could not apply snapshot '%s': Block driver does not support snapshots", snapshot)
	case "d":
		return fmt.Errorf("Could not delete snapshot '%s': snapshot not found", snapshot)
	}
	return errSilent
}

func snapshotReason(err error) string {
	if errors.Is(err, qcow2.ErrNoSnapshot) {
		return "Failed to load snapshot: No such file or directory"
	}
	if errors.Is(err, qcow2.ErrUnsupported) {
		return "Failed to load snapshot: " + errnoText(syscall.ENOTSUP)
	}
	return reason(err)
}
