package mfi

import "fmt"

// Cmd is the command code in byte 0 of a frame.
type Cmd uint8

// Frame commands.
const (
	CmdInit     Cmd = 0x00 // hand over the reply queue
	CmdLDRead   Cmd = 0x01 // read blocks of a logical drive
	CmdLDWrite  Cmd = 0x02 // write blocks of a logical drive
	CmdLDSCSIIO Cmd = 0x03 // pass a CDB to a logical drive
	CmdPDSCSIIO Cmd = 0x04 // pass a CDB to a physical drive
	CmdDCMD     Cmd = 0x05 // management command, see Opcode
	CmdAbort    Cmd = 0x06 // abort an outstanding frame
	CmdSMP      Cmd = 0x07 // serial management protocol pass-through
	CmdSTP      Cmd = 0x08 // SATA tunnelling protocol pass-through
)

var cmdNames = [...]string{
	CmdInit:     "INIT",
	CmdLDRead:   "LD_READ",
	CmdLDWrite:  "LD_WRITE",
	CmdLDSCSIIO: "LD_SCSI_IO",
	CmdPDSCSIIO: "PD_SCSI_IO",
	CmdDCMD:     "DCMD",
	CmdAbort:    "ABORT",
	CmdSMP:      "SMP",
	CmdSTP:      "STP",
}

// String returns the command's name, or its number if it has none.
func (c Cmd) String() string {
	if int(c) < len(cmdNames) {
		return cmdNames[c]
	}
	return fmt.Sprintf("Cmd(%#02x)", uint8(c))
}
