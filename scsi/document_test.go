package scsi

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/doctable"
)

// document is what is kept true here.
const document = "../docs/controller.md"

// TestDocumentCommands compares the commands in the document with those that a
// volume, a SAS drive, a SATA drive and a CD-ROM drive have.
func TestDocumentCommands(t *testing.T) {
	disk, _ := newUnit(t, nil)
	sata, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.ATA = &ATA{Model: "M", Serial: "S", Firmware: "F"} })
	table := doctable.New("CDB", "command", "who has it", "CDB bits that are looked at")
	rows := slices.Clone(blockCommands().rows)
	for _, r := range cdCommands().rows {
		if !slices.ContainsFunc(blockCommands().rows, func(b command) bool { return b.op == r.op && b.action == r.action }) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b command) int { return int(a.op)<<8 + int(a.action) - int(b.op)<<8 - int(b.action) })
	for _, r := range rows {
		cdb := fmt.Sprintf("%02X", byte(r.op))
		if r.action != noAction {
			cdb += fmt.Sprintf("/%02X", r.action)
		}
		var who []string
		if slices.ContainsFunc(blockCommands().rows, func(b command) bool { return b.op == r.op && b.action == r.action }) {
			if who = []string{"disks"}; !r.has(disk) && r.has(sata) {
				who = []string{"SATA disks"}
			}
		}
		if slices.ContainsFunc(cdCommands().rows, func(b command) bool { return b.op == r.op && b.action == r.action }) {
			who = append(who, "CD-ROM drives")
		}
		table.Row(cdb, r.name, strings.Join(who, ", "), fmt.Sprintf("% x", r.usage))
	}
	table.Check(t, document, "scsi commands")
}

// TestDocumentPages compares the pages: of vital product data, of modes and of
// logs.
func TestDocumentPages(t *testing.T) {
	disk, _ := newUnit(t, nil)
	sata, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.ATA = &ATA{Model: "M", Serial: "S", Firmware: "F"} })
	table := doctable.New("pages", "of SAS disks and volumes", "of SATA disks")
	list := func(has func(page int) bool) string {
		var pages []string
		for page := range 256 {
			if has(page) {
				pages = append(pages, fmt.Sprintf("%02X", page))
			}
		}
		return strings.Join(pages, " ")
	}
	data := make([]byte, 1024)
	vpd := func(u *Unit) string {
		return list(func(page int) bool { return run(u, []byte{0x12, 1, byte(page), 1, 0, 0}, data).Status == StatusGood })
	}
	modes := func(u *Unit) string {
		return list(func(page int) bool {
			return page < 0x3F && run(u, []byte{0x1A, 8, byte(page), 0, 255, 0}, data).Status == StatusGood
		})
	}
	logs := func(u *Unit) string {
		return list(func(page int) bool {
			return page < 0x40 && run(u, []byte{0x4D, 0, 0x40 | byte(page), 0, 0, 0, 0, 1, 0, 0}, data).Status == StatusGood
		})
	}
	table.Row("INQUIRY, vital product data", vpd(disk), vpd(sata))
	table.Row("MODE SENSE", modes(disk), modes(sata))
	table.Row("LOG SENSE", logs(disk), logs(sata))
	table.Check(t, document, "scsi pages")
}
