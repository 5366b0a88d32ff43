package megasas

import (
	"errors"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// command is a row of the table of management commands.
type command struct {
	op mfi.Opcode
	// room is the least that the guest must have room for: with less the reply
	// would be of no use. What does not fit beyond it is cut off; lists tell
	// how long they really are.
	room uint64
	run  func(*Controller, *request) mfi.Status
	// refused is what a command answers that is never carried out, and why says
	// what is missing. run, if it is not nil, only looks at what the command is
	// about: its answer counts unless it is OK.
	refused mfi.Status
	why     string
}

// commands are the management commands that the firmware knows. All others answer
// INVALID_DCMD. EVENT_WAIT, which need not complete at once, has no run.
var commands = [...]command{
	{op: mfi.OpNop, run: nop},

	{op: mfi.OpCtrlHostMemAlloc, refused: mfi.StatusInvalidDCMD, why: "the firmware needs no memory of the host"},
	{op: mfi.OpCtrlGetInfo, room: 1, run: controllerInfo},
	{op: mfi.OpCtrlGetProperties, room: 1, run: controllerProperties},
	{op: mfi.OpCtrlSetProperties, room: mfi.ControllerPropertiesLen, run: setControllerProperties},
	{op: mfi.OpCtrlAlarmGet, refused: mfi.StatusNoHWPresent, why: noAlarm},
	{op: mfi.OpCtrlAlarmEnable, refused: mfi.StatusNoHWPresent, why: noAlarm},
	{op: mfi.OpCtrlAlarmDisable, refused: mfi.StatusNoHWPresent, why: noAlarm},
	{op: mfi.OpCtrlAlarmSilence, refused: mfi.StatusNoHWPresent, why: noAlarm},
	{op: mfi.OpCtrlAlarmTest, refused: mfi.StatusNoHWPresent, why: noAlarm},
	{op: mfi.OpCtrlEventGetInfo, room: mfi.EventLogInfoLen, run: eventInfo},
	{op: mfi.OpCtrlEventClear, run: eventClear},
	{op: mfi.OpCtrlEventGet, room: mfi.EventListHeaderLen + mfi.EventLen, run: eventGet},
	{op: mfi.OpCtrlEventCount, room: 4, run: eventCount},
	{op: mfi.OpCtrlEventWait, room: mfi.EventLen},
	{op: mfi.OpCtrlShutdown, run: shutdown},
	{op: mfi.OpCtrlHibernateShutdown, run: hibernate},
	{op: mfi.OpCtrlPRGetStatus, room: 1, run: patrolStatus},
	{op: mfi.OpCtrlPRGetProperties, room: 1, run: patrolProperties},
	{op: mfi.OpCtrlPRSetProperties, room: mfi.PatrolPropertiesLen, run: setPatrolProperties},
	{op: mfi.OpCtrlPRStart, refused: mfi.StatusPRDisabled, why: noPatrol},
	{op: mfi.OpCtrlPRStop, refused: mfi.StatusPRDisabled, why: noPatrol},
	{op: mfi.OpCtrlTimeGet, room: 8, run: timeGet},
	{op: mfi.OpCtrlTimeSet, run: timeSet},
	{op: mfi.OpCtrlTimeSecsGet, room: 4, run: timeSeconds},
	{op: mfi.OpCtrlBIOSDataGet, room: 1, run: biosData},
	{op: mfi.OpCtrlBIOSDataSet, room: mfi.BIOSDataLen, run: setBIOSData},
	{op: mfi.OpCtrlFactoryDefaults, run: factoryDefaults},
	{op: mfi.OpCtrlMFCDefaultsGet, room: 1, run: manufacturingDefaults},
	{op: mfi.OpCtrlMFCDefaultsSet, refused: mfi.StatusInvalidDCMD, why: "the maker's defaults are part of the card"},
	{op: mfi.OpCtrlFlashOpen, refused: mfi.StatusFlashAllocFail, why: "the firmware cannot be replaced"},
	{op: mfi.OpCtrlFlashDownload, refused: mfi.StatusFlashNotOpen, why: noFlash},
	{op: mfi.OpCtrlFlashFlash, refused: mfi.StatusFlashNotOpen, why: noFlash},
	{op: mfi.OpCtrlFlashClose, refused: mfi.StatusFlashNotOpen, why: noFlash},
	{op: mfi.OpCtrlCacheFlush, run: cacheFlush},
	{op: mfi.OpCtrlCrashDumpParams, refused: mfi.StatusInvalidDCMD, why: noFusion},
	{op: mfi.OpCtrlDeviceListGet, refused: mfi.StatusInvalidDCMD, why: noFusion},
	{op: mfi.OpCtrlSnapDumpGet, refused: mfi.StatusInvalidDCMD, why: noFusion},

	{op: mfi.OpPDGetList, room: 8, run: pdList},
	{op: mfi.OpPDListQuery, room: 8, run: pdQuery},
	{op: mfi.OpPDGetInfo, room: 1, run: pdInfo},
	{op: mfi.OpPDStateSet, run: setDriveState},
	{op: mfi.OpPDRebuildStart, run: checkDrive, refused: mfi.StatusWrongState, why: noRedundancy},
	{op: mfi.OpPDRebuildAbort, run: checkDrive, refused: mfi.StatusWrongState, why: noRedundancy},
	{op: mfi.OpPDClearStart, run: clearDrive},
	{op: mfi.OpPDClearAbort, run: abortClear},
	{op: mfi.OpPDGetProgress, room: 1, run: pdProgress},
	{op: mfi.OpPDLocateStart, run: func(c *Controller, r *request) mfi.Status { return locate(c, r, true) }},
	{op: mfi.OpPDLocateStop, run: func(c *Controller, r *request) mfi.Status { return locate(c, r, false) }},
	{op: mfi.OpPDAllowedOpsList, refused: mfi.StatusInvalidDCMD, why: "no open source says what the list holds"},

	{op: mfi.OpLDGetList, room: 8, run: ldList},
	{op: mfi.OpLDListQuery, room: 8, run: ldQuery},
	{op: mfi.OpLDGetInfo, room: 1, run: ldInfo},
	{op: mfi.OpLDGetProp, room: 1, run: ldProperties},
	{op: mfi.OpLDSetProp, room: mfi.LDPropertiesLen, run: setLDProperties},
	{op: mfi.OpLDInitStart, run: initVolume},
	{op: mfi.OpLDDelete, run: deleteLD},

	{op: mfi.OpCfgRead, room: mfi.ConfigHeaderLen, run: configRead},
	{op: mfi.OpCfgAdd, room: mfi.ConfigHeaderLen, run: configAdd},
	{op: mfi.OpCfgClear, run: configClear},
	{op: mfi.OpCfgMakeSpare, refused: mfi.StatusInvalidDCMD, why: noSpares},
	{op: mfi.OpCfgRemoveSpare, refused: mfi.StatusInvalidDCMD, why: noSpares},
	{op: mfi.OpCfgForeignScan, room: 4, run: foreignScan},
	{op: mfi.OpCfgForeignDisplay, refused: mfi.StatusNotFound, why: noForeign},
	{op: mfi.OpCfgForeignPreview, refused: mfi.StatusNotFound, why: noForeign},
	{op: mfi.OpCfgForeignImport, run: checkImport, refused: mfi.StatusNotFound, why: noForeign},
	{op: mfi.OpCfgForeignClear, run: foreignClear},

	{op: mfi.OpBBUGetStatus, run: ofBattery(batteryStatus)},
	{op: mfi.OpBBUGetCapacity, run: ofBattery(batteryCapacity)},
	{op: mfi.OpBBUGetDesign, run: ofBattery(batteryDesignInfo)},
	{op: mfi.OpBBUStartLearn, run: startLearn},
	{op: mfi.OpBBUGetProp, run: ofBattery(batteryProperties)},
	{op: mfi.OpBBUSetProp, run: setBatteryProperties},

	{op: mfi.OpClusterResetAll, refused: mfi.StatusInvalidDCMD, why: noCluster},
	{op: mfi.OpClusterResetLD, refused: mfi.StatusInvalidDCMD, why: noCluster},
}

// What the card or its firmware has not.
const (
	noAlarm      = "there is no alarm"
	noPatrol     = "patrol reads are disabled"
	noFlash      = "no firmware is being replaced"
	noForeign    = "there is no foreign configuration"
	noFusion     = "only cards of later generations have it"
	noRedundancy = "there are no arrays with redundancy"
	noSpares     = "there are no arrays that a spare could help"
	noCluster    = "the card is not part of a cluster"
)

// commandOf is the row of an opcode, or nil.
func commandOf(op mfi.Opcode) *command {
	for i := range commands {
		if commands[i].op == op {
			return &commands[i]
		}
	}
	return nil
}

// dcmd carries out a management command.
func (r *request) dcmd() (status mfi.Status, done bool) {
	op := r.frame.Opcode()
	row := commandOf(op)
	switch {
	case row == nil:
		r.c.warn("management command is not supported", "opcode", op.String())
		return mfi.StatusInvalidDCMD, true
	case row.why != "":
		return r.refuseCommand(row), true
	case r.dataLen() < row.room:
		return mfi.StatusInvalidParameter, true
	case op == mfi.OpCtrlEventWait:
		return eventWait(r.c, r)
	}
	return row.run(r.c, r), true
}

// refuseCommand answers a command that is never carried out.
func (r *request) refuseCommand(row *command) mfi.Status {
	if row.run != nil {
		if status := row.run(r.c, r); status != mfi.StatusOK {
			return status
		}
	}
	r.c.warn("management command is refused", "opcode", row.op.String(), "status", row.refused.String(), "why", row.why)
	return row.refused
}

// nop is what asks for nothing.
func nop(*Controller, *request) mfi.Status { return mfi.StatusOK }

// putOrRefuse copies a payload to the guest and returns the status for that.
func (r *request) putOrRefuse(p []byte) mfi.Status {
	if err := r.put(p); err != nil {
		return r.refuse(err)
	}
	return mfi.StatusOK
}

// statusOf is the answer to a change of drives or volumes that was refused.
func (r *request) statusOf(err error) mfi.Status {
	if err == nil {
		return mfi.StatusOK
	}
	status := mfi.StatusInvalidParameter
	for _, x := range []struct {
		err    error
		status mfi.Status
	}{
		{raid.ErrNotFound, mfi.StatusDeviceNotFound},
		{raid.ErrSequence, mfi.StatusInvalidSequenceNumber},
		{raid.ErrState, mfi.StatusWrongState},
		{raid.ErrClearing, mfi.StatusPDClearInProgress},
		{raid.ErrInitializing, mfi.StatusLDInitInProgress},
		{raid.ErrConflict, mfi.StatusConfigConflict},
		{raid.ErrSize, mfi.StatusDriveTooSmall},
		{raid.ErrLevel, mfi.StatusLDWrongRAIDLevel},
		{raid.ErrFull, mfi.StatusLDMaxConfigured},
	} {
		if errors.Is(err, x.err) {
			status = x.status
			break
		}
	}
	return r.refuse(&mfi.Error{Status: status, Reason: err.Error()})
}
