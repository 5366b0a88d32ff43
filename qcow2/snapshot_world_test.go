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

// resizeOperation returns an operation that changes the size of the disk.
func resizeOperation(size int64) operation { return operation{kind: "resize", n: size} }

// onSnapshots reports whether an operation is one atomic change of the image.
func (op operation) onSnapshots() bool {
	return op.kind == "resize" || op.kind == "snapshot" || op.kind == "apply" || op.kind == "delete"
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

// resizeStep is a randomStep or, as often as one in every times, a new size up to
// most bytes.
func (w *world) resizeStep(rng *rand.Rand, o CreateOptions, every int, most int64) operation {
	if rng.IntN(every) != 0 || o.Version == 2 && len(w.snaps) > 0 {
		return w.randomStep(rng, o.ClusterSize, every)
	}
	size := (1 + rng.Int64N(most/sectorSize)) * sectorSize
	if rng.IntN(2) == 0 {
		size = min(most, (size+o.ClusterSize-1)&^(o.ClusterSize-1))
	}
	return resizeOperation(size)
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
	case "resize":
		return im.Resize(op.n)
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
	case "resize":
		disk := make([]byte, op.n)
		copy(disk, w.disk)
		w.disk = disk
	case "delete":
		w.snaps = slices.Delete(slices.Clone(w.snaps), i, i+1)
	default:
		op.apply(im, w.disk)
	}
}

// sameSnapshots checks that an image has the size of the model's disk, and lists
// its snapshots.
func (w *world) sameSnapshots(im *Image) error {
	if im.Size() != int64(len(w.disk)) {
		return fmt.Errorf("a disk of %d bytes, want %d", im.Size(), len(w.disk))
	}
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
