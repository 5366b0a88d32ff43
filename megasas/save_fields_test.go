package megasas

import (
	"testing"

	"github.com/govmm/govmm/internal/fieldtest"
)

// TestEveryFieldIsDecided is for who adds a field to what a controller consists of:
// either the saved state has it, or it is said here why not.
func TestEveryFieldIsDecided(t *testing.T) {
	const (
		saved    = "saved"
		config   = "as the controller is made"
		lock     = "lock"
		drained  = "empty while the controller is paused"
		host     = "the host's, not the card's"
		nvram    = "saved with the NVRAM's contents"
		machines = "of goroutines, made anew"
	)
	fieldtest.Decided(t, &Controller{}, map[string]string{
		"p serial sas": "saved, to be compared", "fn irq clock battery learning set logicals physicals fw replies waits works pausing": saved,
		"settings events": nvram, "nvram": "records, modes and reservations with its contents",
		"name log now observer listener workers registers progressPause": config,
		"dma": "given by Attach", "quiet failures stats faults": host, "life": lock,
		"queue first outstanding": drained, "discharged": "derived from learning", "inlining": "a heuristic, and spare requests",
		"news unsaved closed done tasks restored face": machines,
	})
	fieldtest.Decided(t, &firmware{}, map[string]string{
		"word settling halted boot stepEnds sequence diag": saved, "epoch": "frames of earlier ones are not saved", "mu settled": lock, "begun face": machines,
	})
	fieldtest.Decided(t, &interrupts{}, map[string]string{"latched mask owed": saved, "pin reply": config, "sent": host, "face": machines, "mu": lock})
	fieldtest.Decided(t, ring{}, map[string]string{"entries base producer consumer next wide": saved})
	fieldtest.Decided(t, &replies{}, map[string]string{"ring": saved, "pending spare posting": drained, "mu room": lock})
	fieldtest.Decided(t, &waits{}, map[string]string{"held quiet noise until": saved, "mu": lock})
	fieldtest.Decided(t, &wait{}, map[string]string{"request": saved, "first filter": "in the frame"})
	fieldtest.Decided(t, &request{}, map[string]string{
		"addr frame": saved, "senseLen scsiStatus": "in the frame of one that is held", "c epoch buf data cmd inline": machines,
		"posted sense again": host, "stalled orphaned": "not of one that is held",
	})
	fieldtest.Decided(t, &clock{}, map[string]string{"start": saved, "ahead": nvram, "host": config})
	fieldtest.Decided(t, &settings{}, map[string]string{"props bios": nvram, "changing mu": lock})
	fieldtest.Decided(t, &eventLog{}, map[string]string{"events info": nvram, "now appended logged": config, "mu": lock})
	fieldtest.Decided(t, &nvramContents{}, map[string]string{"properties bios log exact events drives clock modes reservations battery": nvram})
	fieldtest.Decided(t, &learning{}, map[string]string{"phase since failed warned": saved, "kept": nvram, "times": config, "wake": machines})
	fieldtest.Decided(t, batteryLife{}, map[string]string{"props cycles": nvram})
	fieldtest.Decided(t, modeRecord{}, map[string]string{"target saved": nvram})
	fieldtest.Decided(t, reservationRecord{}, map[string]string{"target saved": nvram})
	fieldtest.Decided(t, target{}, map[string]string{"volume name": nvram})
	fieldtest.Decided(t, driveRecord{}, map[string]string{"wwn serial seen seconds cycles read written": nvram})
	fieldtest.Decided(t, &pausing{}, map[string]string{"posts stalled": saved, "on held units": "a restored controller is not paused", "mu": lock})
	fieldtest.Decided(t, &works{}, map[string]string{"list": saved, "growing mu": lock, "tasks": machines})
	fieldtest.Decided(t, &zeroing{}, map[string]string{
		"work": "its kind and how long it has taken", "on done": saved, "spans what": "derived from the place and the kind", "c": machines,
	})
	fieldtest.Decided(t, &logical{}, map[string]string{"unit": saved, "volume": "of set", "luck": "a heuristic"})
	fieldtest.Decided(t, &physical{}, map[string]string{"unit vitals": saved, "drive": "of set", "luck": "a heuristic", "onError": config})
	fieldtest.Decided(t, &vitals{}, map[string]string{
		"counters before since heat moved at": saved, "now media": config, "mu": lock,
	})
}
