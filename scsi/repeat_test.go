package scsi

import "testing"

// What is said to change the medium does, and what reads its own result is not
// carried out again.
func TestRepeatable(t *testing.T) {
	for i := range blockCommands().rows {
		row := &blockCommands().rows[i]
		write, ok := Repeatable([]byte{byte(row.op), byte(max(row.action, 0))})
		flush := row.op == OpSynchronizeCache10 || row.op == OpSynchronizeCache16
		if ok && write != (row.needs&writable != 0 || flush) {
			t.Errorf("%s: write is %v", row.name, write)
		}
		// All that moves blocks is, but for this.
		if want := row.needs&addressed != 0 && row.op != OpCompareAndWrite; want && !ok && row.op != OpPreFetch10 && row.op != OpPreFetch16 {
			t.Errorf("%s is not carried out again", row.name)
		}
	}
	for _, cdb := range [][]byte{nil, {}, {byte(OpCompareAndWrite)}, {byte(OpInquiry)}, {byte(OpSanitize)}, {0xff}} {
		if _, ok := Repeatable(cdb); ok {
			t.Errorf("% x is carried out again", cdb)
		}
	}
}
