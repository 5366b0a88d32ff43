package scsi

import "fmt"

// Status is the status byte of a command (SAM-5).
type Status uint8

const (
	StatusGood                Status = 0x00
	StatusCheckCondition      Status = 0x02
	StatusConditionMet        Status = 0x04
	StatusBusy                Status = 0x08
	StatusReservationConflict Status = 0x18
	StatusTaskSetFull         Status = 0x28
	StatusACAActive           Status = 0x30
	StatusTaskAborted         Status = 0x40
)

// String returns the name of s in SAM-5.
func (s Status) String() string {
	switch s {
	case StatusGood:
		return "GOOD"
	case StatusCheckCondition:
		return "CHECK CONDITION"
	case StatusConditionMet:
		return "CONDITION MET"
	case StatusBusy:
		return "BUSY"
	case StatusReservationConflict:
		return "RESERVATION CONFLICT"
	case StatusTaskSetFull:
		return "TASK SET FULL"
	case StatusACAActive:
		return "ACA ACTIVE"
	case StatusTaskAborted:
		return "TASK ABORTED"
	}
	return fmt.Sprintf("status %#02x", uint8(s))
}

// SenseKey says what kind of trouble a command met (SPC-4).
type SenseKey uint8

const (
	KeyNoSense        SenseKey = 0x0
	KeyRecoveredError SenseKey = 0x1
	KeyNotReady       SenseKey = 0x2
	KeyMediumError    SenseKey = 0x3
	KeyHardwareError  SenseKey = 0x4
	KeyIllegalRequest SenseKey = 0x5
	KeyUnitAttention  SenseKey = 0x6
	KeyDataProtect    SenseKey = 0x7
	KeyBlankCheck     SenseKey = 0x8
	KeyVendorSpecific SenseKey = 0x9
	KeyCopyAborted    SenseKey = 0xA
	KeyAbortedCommand SenseKey = 0xB
	KeyVolumeOverflow SenseKey = 0xD
	KeyMiscompare     SenseKey = 0xE
	KeyCompleted      SenseKey = 0xF
)

var senseKeyNames = [16]string{
	"NO SENSE", "RECOVERED ERROR", "NOT READY", "MEDIUM ERROR",
	"HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
	"BLANK CHECK", "VENDOR SPECIFIC", "COPY ABORTED", "ABORTED COMMAND",
	"", "VOLUME OVERFLOW", "MISCOMPARE", "COMPLETED",
}

// String returns the name of k in SPC-4.
func (k SenseKey) String() string {
	if int(k) < len(senseKeyNames) && senseKeyNames[k] != "" {
		return senseKeyNames[k]
	}
	return fmt.Sprintf("sense key %#x", uint8(k))
}

// ASC is an additional sense code in the high byte with its qualifier in the
// low one (SPC-4).
type ASC uint16

const (
	ASCNoAdditionalSense            ASC = 0x0000
	ASCATAInformation               ASC = 0x001D
	ASCNotReadyCauseNotReportable   ASC = 0x0400
	ASCNotReadyInitializingRequired ASC = 0x0402
	ASCSelfTestInProgress           ASC = 0x0409
	ASCSanitizeInProgress           ASC = 0x041B
	ASCWriteError                   ASC = 0x0C00
	ASCUnrecoveredReadError         ASC = 0x1100
	ASCParameterListLengthError     ASC = 0x1A00
	ASCMiscompareDuringVerify       ASC = 0x1D00
	ASCInvalidOpcode                ASC = 0x2000
	ASCLBAOutOfRange                ASC = 0x2100
	ASCInvalidFieldInCDB            ASC = 0x2400
	ASCLogicalUnitNotSupported      ASC = 0x2500
	ASCInvalidFieldInParameterList  ASC = 0x2600
	ASCInvalidReleaseOfReservation  ASC = 0x2604
	ASCWriteProtected               ASC = 0x2700
	ASCSoftwareWriteProtected       ASC = 0x2702
	ASCSpaceAllocationFailed        ASC = 0x2707
	ASCPowerOnOrReset               ASC = 0x2900
	ASCModeParametersChanged        ASC = 0x2A01
	ASCCapacityDataHasChanged       ASC = 0x2A09
	ASCSanitizeFailed               ASC = 0x3103
	ASCSavingParametersNotSupported ASC = 0x3900
	ASCMediumNotPresent             ASC = 0x3A00
	ASCInquiryDataHasChanged        ASC = 0x3F03
	ASCReportedLUNsDataHasChanged   ASC = 0x3F0E
	ASCSelfTestFailed               ASC = 0x3E03
	ASCInternalTargetFailure        ASC = 0x4400
	ASCDataPhaseError               ASC = 0x4B00
	ASCInsufficientResources        ASC = 0x5503
)

// Code returns the additional sense code.
func (a ASC) Code() uint8 { return uint8(a >> 8) }

// Qualifier returns the additional sense code qualifier.
func (a ASC) Qualifier() uint8 { return uint8(a) }

var ascNames = [...]struct {
	code ASC
	name string
}{
	{ASCNoAdditionalSense, "NO ADDITIONAL SENSE INFORMATION"},
	{ASCATAInformation, "ATA PASS THROUGH INFORMATION AVAILABLE"},
	{ASCSelfTestInProgress, "LOGICAL UNIT NOT READY, SELF-TEST IN PROGRESS"},
	{ASCNotReadyCauseNotReportable, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE"},
	{ASCNotReadyInitializingRequired, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED"},
	{ASCSanitizeInProgress, "LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS"},
	{ASCWriteError, "WRITE ERROR"},
	{ASCUnrecoveredReadError, "UNRECOVERED READ ERROR"},
	{ASCParameterListLengthError, "PARAMETER LIST LENGTH ERROR"},
	{ASCMiscompareDuringVerify, "MISCOMPARE DURING VERIFY OPERATION"},
	{ASCInvalidOpcode, "INVALID COMMAND OPERATION CODE"},
	{ASCLBAOutOfRange, "LOGICAL BLOCK ADDRESS OUT OF RANGE"},
	{ASCInvalidFieldInCDB, "INVALID FIELD IN CDB"},
	{ASCLogicalUnitNotSupported, "LOGICAL UNIT NOT SUPPORTED"},
	{ASCInvalidFieldInParameterList, "INVALID FIELD IN PARAMETER LIST"},
	{ASCInvalidReleaseOfReservation, "INVALID RELEASE OF PERSISTENT RESERVATION"},
	{ASCWriteProtected, "WRITE PROTECTED"},
	{ASCSoftwareWriteProtected, "LOGICAL UNIT SOFTWARE WRITE PROTECTED"},
	{ASCSpaceAllocationFailed, "SPACE ALLOCATION FAILED WRITE PROTECT"},
	{ASCPowerOnOrReset, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"},
	{ASCModeParametersChanged, "MODE PARAMETERS CHANGED"},
	{ASCCapacityDataHasChanged, "CAPACITY DATA HAS CHANGED"},
	{ASCSanitizeFailed, "SANITIZE COMMAND FAILED"},
	{ASCSavingParametersNotSupported, "SAVING PARAMETERS NOT SUPPORTED"},
	{ASCMediumNotPresent, "MEDIUM NOT PRESENT"},
	{ASCInquiryDataHasChanged, "INQUIRY DATA HAS CHANGED"},
	{ASCReportedLUNsDataHasChanged, "REPORTED LUNS DATA HAS CHANGED"},
	{ASCSelfTestFailed, "LOGICAL UNIT FAILED SELF-TEST"},
	{ASCInternalTargetFailure, "INTERNAL TARGET FAILURE"},
	{ASCDataPhaseError, "DATA PHASE ERROR"},
	{ASCInsufficientResources, "INSUFFICIENT RESOURCES"},
}

// String returns the text of a in SPC-4.
func (a ASC) String() string {
	for _, n := range ascNames {
		if n.code == a {
			return n.name
		}
	}
	return fmt.Sprintf("additional sense %#02x/%#02x", a.Code(), a.Qualifier())
}
