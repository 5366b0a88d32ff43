package mfi

import "fmt"

// Status is the result that firmware stores in byte 2 of a frame.
type Status uint8

// Completion status codes. The ones that no handler gives are here for their
// names only, see String.
const (
	StatusOK                    Status = 0x00
	StatusInvalidCmd            Status = 0x01
	StatusInvalidDCMD           Status = 0x02
	StatusInvalidParameter      Status = 0x03
	StatusInvalidSequenceNumber Status = 0x04
	StatusAbortNotPossible      Status = 0x05
	StatusConfigConflict        Status = 0x0b
	StatusDeviceNotFound        Status = 0x0c
	StatusDriveTooSmall         Status = 0x0d
	StatusFlashAllocFail        Status = 0x0e
	StatusFlashError            Status = 0x10
	StatusFlashNotOpen          Status = 0x13
	StatusFlushFailed           Status = 0x15
	StatusLDInitInProgress      Status = 0x18
	StatusLDMaxConfigured       Status = 0x1a
	StatusLDWrongRAIDLevel      Status = 0x1e
	StatusNoHWPresent           Status = 0x22
	StatusNotFound              Status = 0x23
	StatusPDClearInProgress     Status = 0x25
	StatusPDTypeWrong           Status = 0x26
	StatusPRDisabled            Status = 0x27
	StatusSCSIDoneWithError     Status = 0x2d // scsi_status and sense hold the result
	StatusSCSIIOFailed          Status = 0x2e
	StatusShutdownFailed        Status = 0x30
	StatusWrongState            Status = 0x32
	StatusLDOffline             Status = 0x33
	StatusPCIErrors             Status = 0x38
	StatusInvalidSGL            Status = 0x3c
	StatusPending               Status = 0xff // stored by the driver before it polls
)

var statusNames = [...]string{
	0x00: "OK",
	0x01: "INVALID_CMD",
	0x02: "INVALID_DCMD",
	0x03: "INVALID_PARAMETER",
	0x04: "INVALID_SEQUENCE_NUMBER",
	0x05: "ABORT_NOT_POSSIBLE",
	0x06: "APP_HOST_CODE_NOT_FOUND",
	0x07: "APP_IN_USE",
	0x08: "APP_NOT_INITIALIZED",
	0x09: "ARRAY_INDEX_INVALID",
	0x0a: "ARRAY_ROW_NOT_EMPTY",
	0x0b: "CONFIG_RESOURCE_CONFLICT",
	0x0c: "DEVICE_NOT_FOUND",
	0x0d: "DRIVE_TOO_SMALL",
	0x0e: "FLASH_ALLOC_FAIL",
	0x0f: "FLASH_BUSY",
	0x10: "FLASH_ERROR",
	0x11: "FLASH_IMAGE_BAD",
	0x12: "FLASH_IMAGE_INCOMPLETE",
	0x13: "FLASH_NOT_OPEN",
	0x14: "FLASH_NOT_STARTED",
	0x15: "FLUSH_FAILED",
	0x16: "HOST_CODE_NOT_FOUND",
	0x17: "LD_CC_IN_PROGRESS",
	0x18: "LD_INIT_IN_PROGRESS",
	0x19: "LD_LBA_OUT_OF_RANGE",
	0x1a: "LD_MAX_CONFIGURED",
	0x1b: "LD_NOT_OPTIMAL",
	0x1c: "LD_RBLD_IN_PROGRESS",
	0x1d: "LD_RECON_IN_PROGRESS",
	0x1e: "LD_WRONG_RAID_LEVEL",
	0x1f: "MAX_SPARES_EXCEEDED",
	0x20: "MEMORY_NOT_AVAILABLE",
	0x21: "MFC_HW_ERROR",
	0x22: "NO_HW_PRESENT",
	0x23: "NOT_FOUND",
	0x24: "NOT_IN_ENCL",
	0x25: "PD_CLEAR_IN_PROGRESS",
	0x26: "PD_TYPE_WRONG",
	0x27: "PR_DISABLED",
	0x28: "ROW_INDEX_INVALID",
	0x29: "SAS_CONFIG_INVALID_ACTION",
	0x2a: "SAS_CONFIG_INVALID_DATA",
	0x2b: "SAS_CONFIG_INVALID_PAGE",
	0x2c: "SAS_CONFIG_INVALID_TYPE",
	0x2d: "SCSI_DONE_WITH_ERROR",
	0x2e: "SCSI_IO_FAILED",
	0x2f: "SCSI_RESERVATION_CONFLICT",
	0x30: "SHUTDOWN_FAILED",
	0x31: "TIME_NOT_SET",
	0x32: "WRONG_STATE",
	0x33: "LD_OFFLINE",
	0x34: "PEER_NOTIFICATION_REJECTED",
	0x35: "PEER_NOTIFICATION_FAILED",
	0x36: "RESERVATION_IN_PROGRESS",
	0x37: "I2C_ERRORS_DETECTED",
	0x38: "PCI_ERRORS_DETECTED",
	0x39: "DIAG_FAILED",
	0x3a: "BOOT_MSG_PENDING",
	0x3b: "FOREIGN_CONFIG_INCOMPLETE",
	0x3c: "INVALID_SGL",
	0x3d: "UNSUPPORTED_HW",
	0x3e: "CC_SCHEDULE_DISABLED",
	0x3f: "PD_COPYBACK_IN_PROGRESS",
	0x40: "MULTIPLE_PDS_IN_ARRAY",
	0x41: "FW_DOWNLOAD_ERROR",
	0x42: "FEATURE_SECURITY_NOT_ENABLED",
	0x43: "LOCK_KEY_ALREADY_EXISTS",
	0x44: "LOCK_KEY_BACKUP_NOT_ALLOWED",
	0x45: "LOCK_KEY_VERIFY_NOT_ALLOWED",
	0x46: "LOCK_KEY_VERIFY_FAILED",
	0x47: "LOCK_KEY_REKEY_NOT_ALLOWED",
	0x48: "LOCK_KEY_INVALID",
	0x49: "LOCK_KEY_ESCROW_INVALID",
	0x4a: "LOCK_KEY_BACKUP_REQUIRED",
	0x4b: "SECURE_LD_EXISTS",
	0x4c: "LD_SECURE_NOT_ALLOWED",
	0x4d: "REPROVISION_NOT_ALLOWED",
	0x4e: "PD_SECURITY_TYPE_WRONG",
	0x4f: "LD_ENCRYPTION_TYPE_INVALID",
	0x50: "CONFIG_FDE_NON_FDE_MIX_NOT_ALLOWED",
	0x51: "CONFIG_LD_ENCRYPTION_MIX_NOT_ALLOWED",
	0x52: "SECRET_KEY_NOT_ALLOWED",
	0x53: "PD_HW_ERRORS_DETECTED",
	0x54: "LD_CACHE_PINNED",
	0x55: "POWER_STATE_SET_IN_PROGRESS",
	0x56: "POWER_STATE_SET_BUSY",
	0x57: "POWER_STATE_WRONG",
	0x58: "PR_NO_AVAILABLE_PD_FOUND",
	0x59: "CTRL_RESET_REQUIRED",
	0x5a: "LOCK_KEY_EKM_NO_BOOT_AGENT",
	0x5b: "SNAP_NO_SPACE",
	0x5c: "SNAP_PARTIAL_FAILURE",
	0x5d: "UPGRADE_KEY_INCOMPATIBLE",
	0x5e: "PFK_INCOMPATIBLE",
	0x5f: "PD_MAX_UNCONFIGURED",
	0x60: "IO_METRICS_DISABLED",
	0x61: "AEC_NOT_STOPPED",
	0x62: "PI_TYPE_WRONG",
	0x63: "LD_PD_PI_INCOMPATIBLE",
	0x64: "PI_NOT_ENABLED",
	0x65: "LD_BLOCK_SIZE_MISMATCH",
}

// String returns the status code's name, or its number if it has none.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	if s == StatusPending {
		return "PENDING"
	}
	return fmt.Sprintf("Status(%#02x)", uint8(s))
}

// Error is what a guest did wrong, with the status that the frame completes
// with.
type Error struct {
	Status Status
	Reason string
}

// Error says what was wrong, then the status it is answered with.
func (e *Error) Error() string { return e.Reason + " (" + e.Status.String() + ")" }

func errorf(s Status, format string, args ...any) error {
	return &Error{Status: s, Reason: fmt.Sprintf(format, args...)}
}
