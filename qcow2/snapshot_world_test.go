package qcow2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// world is a plain model of a disk with snapshots.
type world struct {
	disk  []byte
	snaps []savedDisk // in the order of the table
}

type savedDisk struct {
	name string
	data []byte
}

func (w *world) clone() world {
	return world{slices.Clone(w.disk), slices.Clone(w.snaps)}
}

func (w *world) names() []string {
	var list []string
	for _, s := range w.snaps {
		list = append(list, s.name)
	}
	return list
}

// rootOperation returns an operation on snapshots: their names are numbers,
// which fill holds.
func rootOperation(kind string, number byte) operation { return operation{kind: kind, fill: number} }

func (op operation) onSnapshots() bool {
	return op.kind == "snapshot" || op.kind == "apply" || op.kind == "delete"
}

func (op operation) name() string { return "s" + strconv.Itoa(int(op.fill)) }

// randomStep is a randomOperation or, as often as one in every times, one on
// the snapshots that w has.
func (w *world) randomStep(rng *rand.Rand, cluster int64, every int) operation {
	if rng.IntN(every) != 0 {
		return randomOperation(rng, int64(len(w.disk)), cluster)
	}
	kind := []string{"snapshot", "apply", "delete"}[rng.IntN(3)]
	if len(w.snaps) == 0 || kind == "snapshot" && len(w.snaps) < 4 {
		for number := byte(1); ; number++ {
			op := rootOperation("snapshot", number)
			if !slices.Contains(w.names(), op.name()) {
				return op
			}
		}
	}
	if kind == "snapshot" {
		kind = "delete"
	}
	number, _ := strconv.Atoi(w.snaps[rng.IntN(len(w.snaps))].name[1:])
	return rootOperation(kind, byte(number))
}

// do applies an operation to an image.
func (w *world) do(im *Image, op operation, rng *rand.Rand) error {
	switch op.kind {
	case "snapshot":
		_, err := im.CreateSnapshot(SnapshotOptions{Name: op.name()})
		return err
	case "apply":
		return im.ApplySnapshot(op.name())
	case "delete":
		return im.DeleteSnapshot(op.name())
	}
	return op.run(im, rng)
}

// apply does to the model what a successful operation does to the disk.
func (w *world) apply(im *Image, op operation) {
	i := slices.IndexFunc(w.snaps, func(s savedDisk) bool { return s.name == op.name() })
	switch op.kind {
	case "snapshot":
		w.snaps = append(slices.Clone(w.snaps), savedDisk{op.name(), slices.Clone(w.disk)})
	case "apply":
		w.disk = slices.Clone(w.snaps[i].data)
	case "delete":
		w.snaps = slices.Delete(slices.Clone(w.snaps), i, i+1)
	default:
		op.apply(im, w.disk)
	}
}

// sameSnapshots checks that an image lists the snapshots of the model.
func (w *world) sameSnapshots(im *Image) error {
	var got []string
	for _, s := range im.Snapshots() {
		got = append(got, s.Name)
	}
	if !slices.Equal(got, w.names()) {
		return fmt.Errorf("snapshots %q, want %q", got, w.names())
	}
	return nil
}

// snapshotsHold applies each snapshot in turn and checks what is in it; then it
// deletes all of them, and the image must be clean.
func (w *world) snapshotsHold(im *Image) error {
	for _, s := range w.snaps {
		if err := im.ApplySnapshot(s.name); err != nil {
			return err
		}
		if err := compareWith(im, s.data); err != nil {
			return fmt.Errorf("snapshot %s: %w", s.name, err)
		}
	}
	for _, s := range w.snaps {
		if err := im.DeleteSnapshot(s.name); err != nil {
			return err
		}
	}
	return nil
}
