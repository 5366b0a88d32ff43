package scsi

// Opcode is the operation code, byte 0 of a CDB. Its top three bits are the
// group, which gives the length of the CDB and the places of its address and
// length fields.
type Opcode uint8

// Operation codes of SPC-4 and SBC-3.
const (
	OpTestUnitReady      Opcode = 0x00
	OpRequestSense       Opcode = 0x03
	OpRead6              Opcode = 0x08
	OpWrite6             Opcode = 0x0A
	OpInquiry            Opcode = 0x12
	OpModeSelect6        Opcode = 0x15
	OpReserve6           Opcode = 0x16
	OpRelease6           Opcode = 0x17
	OpModeSense6         Opcode = 0x1A
	OpStartStopUnit      Opcode = 0x1B
	OpReceiveDiagnostic  Opcode = 0x1C
	OpSendDiagnostic     Opcode = 0x1D
	OpPreventAllow       Opcode = 0x1E
	OpReadCapacity10     Opcode = 0x25
	OpRead10             Opcode = 0x28
	OpWrite10            Opcode = 0x2A
	OpWriteAndVerify10   Opcode = 0x2E
	OpVerify10           Opcode = 0x2F
	OpPreFetch10         Opcode = 0x34
	OpSynchronizeCache10 Opcode = 0x35
	OpReadDefectData10   Opcode = 0x37
	OpWriteSame10        Opcode = 0x41
	OpUnmap              Opcode = 0x42
	OpSanitize           Opcode = 0x48
	OpLogSelect          Opcode = 0x4C
	OpLogSense           Opcode = 0x4D
	OpModeSelect10       Opcode = 0x55
	OpReserve10          Opcode = 0x56
	OpRelease10          Opcode = 0x57
	OpModeSense10        Opcode = 0x5A
	OpPersistReserveIn   Opcode = 0x5E
	OpPersistReserveOut  Opcode = 0x5F
	OpATAPassThrough16   Opcode = 0x85
	OpRead16             Opcode = 0x88
	OpCompareAndWrite    Opcode = 0x89
	OpWrite16            Opcode = 0x8A
	OpOrWrite16          Opcode = 0x8B
	OpWriteAndVerify16   Opcode = 0x8E
	OpVerify16           Opcode = 0x8F
	OpPreFetch16         Opcode = 0x90
	OpSynchronizeCache16 Opcode = 0x91
	OpWriteSame16        Opcode = 0x93
	OpServiceActionIn16  Opcode = 0x9E
	OpReportLUNs         Opcode = 0xA0
	OpATAPassThrough12   Opcode = 0xA1
	OpMaintenanceIn      Opcode = 0xA3
	OpRead12             Opcode = 0xA8
	OpWrite12            Opcode = 0xAA
	OpWriteAndVerify12   Opcode = 0xAE
	OpVerify12           Opcode = 0xAF
	OpReadDefectData12   Opcode = 0xB7
)

// Service actions, which tell the commands of one operation code apart.
const (
	saSanitizeOverwrite   = 0x01 // of SANITIZE
	saSanitizeBlockErase  = 0x02
	saSanitizeExitFailure = 0x1F

	saReadKeys           = 0x00 // of PERSISTENT RESERVE IN
	saReadReservation    = 0x01
	saReportCapabilities = 0x02
	saReadFullStatus     = 0x03

	saRegister          = 0x00 // of PERSISTENT RESERVE OUT
	saReserve           = 0x01
	saRelease           = 0x02
	saClear             = 0x03
	saPreempt           = 0x04
	saPreemptAndAbort   = 0x05
	saRegisterAndIgnore = 0x06
	saRegisterAndMove   = 0x07

	saReportSupportedCodes = 0x0C // of MAINTENANCE IN
	saReportSupportedTMFs  = 0x0D
	saReadCapacity16       = 0x10 // of SERVICE ACTION IN(16)
	saGetLBAStatus         = 0x12 // of SERVICE ACTION IN(16)
)

// otherNames has the names of commands that a Unit does not carry out, so that
// a trace of what an initiator tried can be read.
var otherNames = [...]struct {
	op   Opcode
	name string
}{
	{0x04, "FORMAT UNIT"},
	{0x07, "REASSIGN BLOCKS"},
	{0x3B, "WRITE BUFFER"},
	{0x3C, "READ BUFFER"},
	{0x7F, "variable-length CDB"},
	{0x83, "third-party copy out"},
	{0x84, "third-party copy in"},
	{0x8C, "READ ATTRIBUTE"},
	{0x8D, "WRITE ATTRIBUTE"},
	{0x94, "ZBC OUT"},
	{0x95, "ZBC IN"},
	{0x9B, "READ BUFFER(16)"},
	{0x9C, "WRITE ATOMIC(16)"},
	{0x9F, "SERVICE ACTION OUT(16)"},
	{0xA2, "SECURITY PROTOCOL IN"},
	{0xA4, "MAINTENANCE OUT"},
	{0xB5, "SECURITY PROTOCOL OUT"},
}
