package scsi

// Repeatable tells of a CDB whether it moves data, or makes it durable, and may be
// carried out again after it failed half-way: it then leaves what it would have left
// at first, and says the same. write is whether it changes the medium.
//
// COMPARE AND WRITE is not among these, since it could compare with what it wrote
// itself.
func Repeatable(cdb []byte) (write, ok bool) {
	if len(cdb) == 0 {
		return false, false
	}
	switch Opcode(cdb[0]) {
	case OpRead6, OpRead10, OpRead12, OpRead16, OpVerify10, OpVerify12, OpVerify16:
		return false, true
	case OpWrite6, OpWrite10, OpWrite12, OpWrite16, OpWriteAndVerify10, OpWriteAndVerify12, OpWriteAndVerify16,
		OpOrWrite16, OpWriteSame10, OpWriteSame16, OpUnmap, OpSynchronizeCache10, OpSynchronizeCache16:
		return true, true
	}
	return false, false
}
