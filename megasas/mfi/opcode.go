package mfi

import (
	"cmp"
	"fmt"
	"slices"
)

// Opcode selects a management command (DCMD). The top byte is the group: 1
// controller, 2 physical drives, 3 logical drives, 4 configuration, 5 battery,
// 8 cluster.
type Opcode uint32

// Management commands.
const (
	OpNop                   Opcode = 0x00000000 // what MegaCli sends to see if anybody is there
	OpCtrlGetInfo           Opcode = 0x01010000
	OpCtrlGetProperties     Opcode = 0x01020100
	OpCtrlSetProperties     Opcode = 0x01020200
	OpCtrlAlarmGet          Opcode = 0x01030100
	OpCtrlAlarmEnable       Opcode = 0x01030200
	OpCtrlAlarmDisable      Opcode = 0x01030300
	OpCtrlAlarmSilence      Opcode = 0x01030400
	OpCtrlAlarmTest         Opcode = 0x01030500
	OpCtrlEventGetInfo      Opcode = 0x01040100
	OpCtrlEventClear        Opcode = 0x01040200
	OpCtrlEventGet          Opcode = 0x01040300
	OpCtrlEventCount        Opcode = 0x01040400
	OpCtrlEventWait         Opcode = 0x01040500
	OpCtrlShutdown          Opcode = 0x01050000
	OpCtrlHibernateShutdown Opcode = 0x01060000
	OpCtrlPRGetStatus       Opcode = 0x01070100
	OpCtrlPRGetProperties   Opcode = 0x01070200
	OpCtrlPRSetProperties   Opcode = 0x01070300
	OpCtrlPRStart           Opcode = 0x01070400
	OpCtrlPRStop            Opcode = 0x01070500
	OpCtrlTimeGet           Opcode = 0x01080101
	OpCtrlTimeSet           Opcode = 0x01080102
	OpCtrlTimeSecsGet       Opcode = 0x01080201
	OpCtrlBIOSDataGet       Opcode = 0x010c0100
	OpCtrlBIOSDataSet       Opcode = 0x010c0200
	OpCtrlFactoryDefaults   Opcode = 0x010d0000
	OpCtrlMFCDefaultsGet    Opcode = 0x010e0201
	OpCtrlMFCDefaultsSet    Opcode = 0x010e0202
	OpCtrlFlashOpen         Opcode = 0x010f0100
	OpCtrlFlashDownload     Opcode = 0x010f0200
	OpCtrlFlashFlash        Opcode = 0x010f0300
	OpCtrlFlashClose        Opcode = 0x010f0400
	OpCtrlHostMemAlloc      Opcode = 0x0100e100
	OpCtrlCacheFlush        Opcode = 0x01101000
	OpCtrlCrashDumpParams   Opcode = 0x01190100
	OpCtrlDeviceListGet     Opcode = 0x01190600
	OpCtrlSnapDumpGet       Opcode = 0x01200100
	OpPDGetList             Opcode = 0x02010000
	OpPDListQuery           Opcode = 0x02010100
	OpPDGetInfo             Opcode = 0x02020000
	OpPDStateSet            Opcode = 0x02030100
	OpPDRebuildStart        Opcode = 0x02040100
	OpPDRebuildAbort        Opcode = 0x02040200
	OpPDClearStart          Opcode = 0x02050100
	OpPDClearAbort          Opcode = 0x02050200
	OpPDGetProgress         Opcode = 0x02060000
	OpPDLocateStart         Opcode = 0x02070100
	OpPDLocateStop          Opcode = 0x02070200
	OpPDAllowedOpsList      Opcode = 0x020a0100
	OpLDGetList             Opcode = 0x03010000
	OpLDListQuery           Opcode = 0x03010100
	OpLDGetInfo             Opcode = 0x03020000
	OpLDGetProp             Opcode = 0x03030000
	OpLDSetProp             Opcode = 0x03040000
	OpLDInitStart           Opcode = 0x03060100
	OpLDDelete              Opcode = 0x03090000
	OpCfgRead               Opcode = 0x04010000
	OpCfgAdd                Opcode = 0x04020000
	OpCfgClear              Opcode = 0x04030000
	OpCfgMakeSpare          Opcode = 0x04040000
	OpCfgRemoveSpare        Opcode = 0x04050000
	OpCfgForeignScan        Opcode = 0x04060100
	OpCfgForeignDisplay     Opcode = 0x04060200
	OpCfgForeignPreview     Opcode = 0x04060300
	OpCfgForeignImport      Opcode = 0x04060400
	OpCfgForeignClear       Opcode = 0x04060500
	OpBBUGetStatus          Opcode = 0x05010000
	OpBBUGetCapacity        Opcode = 0x05020000
	OpBBUGetDesign          Opcode = 0x05030000
	OpBBUStartLearn         Opcode = 0x05040000
	OpBBUGetProp            Opcode = 0x05050100
	OpBBUSetProp            Opcode = 0x05050200
	OpClusterResetAll       Opcode = 0x08010100
	OpClusterResetLD        Opcode = 0x08010200
)

type opcodeName struct {
	code Opcode
	name string
}

// opcodeNames are sorted by number.
var opcodeNames = [...]opcodeName{
	{OpNop, "NOP"},
	{OpCtrlHostMemAlloc, "CTRL_MFI_HOST_MEM_ALLOC"},
	{OpCtrlGetInfo, "CTRL_GET_INFO"},
	{OpCtrlGetProperties, "CTRL_GET_PROPERTIES"},
	{OpCtrlSetProperties, "CTRL_SET_PROPERTIES"},
	{OpCtrlAlarmGet, "CTRL_ALARM_GET"},
	{OpCtrlAlarmEnable, "CTRL_ALARM_ENABLE"},
	{OpCtrlAlarmDisable, "CTRL_ALARM_DISABLE"},
	{OpCtrlAlarmSilence, "CTRL_ALARM_SILENCE"},
	{OpCtrlAlarmTest, "CTRL_ALARM_TEST"},
	{OpCtrlEventGetInfo, "CTRL_EVENT_GET_INFO"},
	{OpCtrlEventClear, "CTRL_EVENT_CLEAR"},
	{OpCtrlEventGet, "CTRL_EVENT_GET"},
	{OpCtrlEventCount, "CTRL_EVENT_COUNT"},
	{OpCtrlEventWait, "CTRL_EVENT_WAIT"},
	{OpCtrlShutdown, "CTRL_SHUTDOWN"},
	{OpCtrlHibernateShutdown, "CTRL_HIBERNATE_SHUTDOWN"},
	{OpCtrlPRGetStatus, "CTRL_PR_GET_STATUS"},
	{OpCtrlPRGetProperties, "CTRL_PR_GET_PROPERTIES"},
	{OpCtrlPRSetProperties, "CTRL_PR_SET_PROPERTIES"},
	{OpCtrlPRStart, "CTRL_PR_START"},
	{OpCtrlPRStop, "CTRL_PR_STOP"},
	{OpCtrlTimeGet, "CTRL_TIME_GET"},
	{OpCtrlTimeSet, "CTRL_TIME_SET"},
	{OpCtrlTimeSecsGet, "CTRL_TIME_SECS_GET"},
	{OpCtrlBIOSDataGet, "CTRL_BIOS_DATA_GET"},
	{OpCtrlBIOSDataSet, "CTRL_BIOS_DATA_SET"},
	{OpCtrlFactoryDefaults, "CTRL_FACTORY_DEFAULTS"},
	{OpCtrlMFCDefaultsGet, "CTRL_MFC_DEFAULTS_GET"},
	{OpCtrlMFCDefaultsSet, "CTRL_MFC_DEFAULTS_SET"},
	{OpCtrlFlashOpen, "CTRL_FLASH_FW_OPEN"},
	{OpCtrlFlashDownload, "CTRL_FLASH_FW_DOWNLOAD"},
	{OpCtrlFlashFlash, "CTRL_FLASH_FW_FLASH"},
	{OpCtrlFlashClose, "CTRL_FLASH_FW_CLOSE"},
	{OpCtrlCacheFlush, "CTRL_CACHE_FLUSH"},
	{OpCtrlCrashDumpParams, "CTRL_SET_CRASH_DUMP_PARAMS"},
	{OpCtrlDeviceListGet, "CTRL_DEVICE_LIST_GET"},
	{OpCtrlSnapDumpGet, "CTRL_SNAPDUMP_GET_PROPERTIES"},
	{OpPDGetList, "PD_GET_LIST"},
	{OpPDListQuery, "PD_LIST_QUERY"},
	{OpPDGetInfo, "PD_GET_INFO"},
	{OpPDStateSet, "PD_STATE_SET"},
	{OpPDRebuildStart, "PD_REBUILD_START"},
	{OpPDRebuildAbort, "PD_REBUILD_ABORT"},
	{OpPDClearStart, "PD_CLEAR_START"},
	{OpPDClearAbort, "PD_CLEAR_ABORT"},
	{OpPDGetProgress, "PD_GET_PROGRESS"},
	{OpPDLocateStart, "PD_LOCATE_START"},
	{OpPDLocateStop, "PD_LOCATE_STOP"},
	{OpPDAllowedOpsList, "PD_GET_ALLOWED_OPS_LIST"},
	{OpLDGetList, "LD_GET_LIST"},
	{OpLDListQuery, "LD_LIST_QUERY"},
	{OpLDGetInfo, "LD_GET_INFO"},
	{OpLDGetProp, "LD_GET_PROP"},
	{OpLDSetProp, "LD_SET_PROP"},
	{OpLDInitStart, "LD_INIT_START"},
	{OpLDDelete, "LD_DELETE"},
	{OpCfgRead, "CFG_READ"},
	{OpCfgAdd, "CFG_ADD"},
	{OpCfgClear, "CFG_CLEAR"},
	{OpCfgMakeSpare, "CFG_MAKE_SPARE"},
	{OpCfgRemoveSpare, "CFG_REMOVE_SPARE"},
	{OpCfgForeignScan, "CFG_FOREIGN_SCAN"},
	{OpCfgForeignDisplay, "CFG_FOREIGN_DISPLAY"},
	{OpCfgForeignPreview, "CFG_FOREIGN_PREVIEW"},
	{OpCfgForeignImport, "CFG_FOREIGN_IMPORT"},
	{OpCfgForeignClear, "CFG_FOREIGN_CLEAR"},
	{OpBBUGetStatus, "BBU_GET_STATUS"},
	{OpBBUGetCapacity, "BBU_GET_CAPACITY_INFO"},
	{OpBBUGetDesign, "BBU_GET_DESIGN_INFO"},
	{OpBBUStartLearn, "BBU_START_LEARN"},
	{OpBBUGetProp, "BBU_GET_PROP"},
	{OpBBUSetProp, "BBU_SET_PROP"},
	{OpClusterResetAll, "CLUSTER_RESET_ALL"},
	{OpClusterResetLD, "CLUSTER_RESET_LD"},
}

// Opcodes are those that have a name, by number.
func Opcodes() []Opcode {
	list := make([]Opcode, len(opcodeNames))
	for i := range opcodeNames {
		list[i] = opcodeNames[i].code
	}
	return list
}

// String returns the opcode's name, or its number if it has none.
func (o Opcode) String() string {
	if i, ok := slices.BinarySearchFunc(opcodeNames[:], o, func(n opcodeName, o Opcode) int { return cmp.Compare(n.code, o) }); ok {
		return opcodeNames[i].name
	}
	return fmt.Sprintf("Opcode(%#08x)", uint32(o))
}

// ShutdownSpinDown is the bit of the first byte of the mailbox of CTRL_SHUTDOWN, and of
// CTRL_HIBERNATE_SHUTDOWN, that has drives stop turning.
const ShutdownSpinDown = 0x01
