package scsi_test

import (
	"fmt"

	"github.com/govmm/govmm/scsi"
)

// blank is a medium of 1 GiB that reads as zeroes and keeps nothing.
type blank struct{}

func (blank) Size() int64                          { return 1 << 30 }
func (blank) WriteV([][]byte, int64) error         { return nil }
func (blank) WriteZeroes(int64, int64, bool) error { return nil }
func (blank) Discard(int64, int64) error           { return nil }
func (blank) Flush() error                         { return nil }
func (blank) ReadOnly() bool                       { return true }
func (blank) CanDiscard() bool                     { return false }
func (blank) DiscardZeroes() bool                  { return false }

func (blank) ReadV(bufs [][]byte, _ int64) error {
	for _, b := range bufs {
		clear(b)
	}
	return nil
}

func Example() {
	unit, err := scsi.NewUnit(scsi.UnitConfig{
		Medium:   blank{},
		Identity: scsi.Identity{Vendor: "GOVMM", Product: "Blank", Revision: "1", Serial: "42"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, cdb := range [][]byte{
		{0x12, 0, 0, 0, 36, 0},         // INQUIRY
		{0x28, 0, 0, 0, 0, 8, 0, 0, 1}, // cut off
		{0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0},
		{0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0},
		{0x28, 0, 0, 0x20, 0, 0, 0, 0, 1, 0},
	} {
		command := scsi.Command{CDB: cdb, Data: [][]byte{make([]byte, 512)}}
		unit.Execute(&command)
		fmt.Println(&command)
	}
	// Output:
	// INQUIRY: GOOD, 36 bytes
	// READ(10): CHECK CONDITION, 0 bytes, ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE
	// READ(10) LBA 8, 1 blocks: GOOD, 512 bytes
	// WRITE(10) LBA 8, 1 blocks: CHECK CONDITION, 0 bytes, DATA PROTECT, WRITE PROTECTED
	// READ(10) LBA 2097152, 1 blocks: CHECK CONDITION, 0 bytes, ILLEGAL REQUEST, LOGICAL BLOCK ADDRESS OUT OF RANGE
}
