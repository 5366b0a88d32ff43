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
}

// commands are the management commands that the firmware has. All others answer
// INVALID_DCMD, but for EVENT_WAIT, which need not complete at once.
var commands = [...]command{
	{mfi.OpCtrlGetInfo, 1, controllerInfo},
	{mfi.OpCtrlGetProperties, 1, controllerProperties},
	{mfi.OpCtrlSetProperties, mfi.ControllerPropertiesLen, setControllerProperties},
	{mfi.OpCtrlAlarmGet, 0, noHardware},
	{mfi.OpCtrlAlarmEnable, 0, noHardware},
	{mfi.OpCtrlAlarmDisable, 0, noHardware},
	{mfi.OpCtrlAlarmSilence, 0, noHardware},
	{mfi.OpCtrlAlarmTest, 0, noHardware},
	{mfi.OpCtrlEventGetInfo, mfi.EventLogInfoLen, eventInfo},
	{mfi.OpCtrlEventClear, 0, eventClear},
	{mfi.OpCtrlEventGet, mfi.EventListHeaderLen + mfi.EventLen, eventGet},
	{mfi.OpCtrlEventCount, 4, eventCount},
	{mfi.OpCtrlShutdown, 0, shutdown},
	{mfi.OpCtrlHibernateShutdown, 0, hibernate},
	{mfi.OpCtrlPRGetStatus, 1, patrolStatus},
	{mfi.OpCtrlPRGetProperties, 1, patrolProperties},
	{mfi.OpCtrlPRSetProperties, mfi.PatrolPropertiesLen, setPatrolProperties},
	{mfi.OpCtrlPRStart, 0, patrolDisabled},
	{mfi.OpCtrlPRStop, 0, patrolDisabled},
	{mfi.OpCtrlBIOSDataGet, 1, biosData},
	{mfi.OpCtrlBIOSDataSet, mfi.BIOSDataLen, setBIOSData},
	{mfi.OpCtrlFactoryDefaults, 0, factoryDefaults},
	{mfi.OpCtrlTimeGet, 8, timeGet},
	{mfi.OpCtrlTimeSecsGet, 4, timeSeconds},
	{mfi.OpCtrlCacheFlush, 0, cacheFlush},
	{mfi.OpPDGetList, 8, pdList},
	{mfi.OpPDListQuery, 8, pdQuery},
	{mfi.OpPDGetInfo, 1, pdInfo},
	{mfi.OpPDStateSet, 0, setDriveState},
	{mfi.OpPDGetProgress, 1, pdProgress},
	{mfi.OpPDLocateStart, 0, func(c *Controller, r *request) mfi.Status { return locate(c, r, true) }},
	{mfi.OpPDLocateStop, 0, func(c *Controller, r *request) mfi.Status { return locate(c, r, false) }},
	{mfi.OpLDGetList, 8, ldList},
	{mfi.OpLDListQuery, 8, ldQuery},
	{mfi.OpLDGetInfo, 1, ldInfo},
	{mfi.OpLDGetProp, 1, ldProperties},
	{mfi.OpLDSetProp, mfi.LDPropertiesLen, setLDProperties},
	{mfi.OpLDDelete, 0, deleteLD},
	{mfi.OpCfgAdd, mfi.ConfigHeaderLen, configAdd},
	{mfi.OpCfgClear, 0, configClear},
	{mfi.OpCfgRead, mfi.ConfigHeaderLen, configRead},
	{mfi.OpCfgForeignScan, 4, foreignScan},
	{mfi.OpCfgForeignDisplay, 0, foreignNotFound},
	{mfi.OpCfgForeignPreview, 0, foreignNotFound},
	{mfi.OpCfgForeignImport, 0, foreignNotFound},
	{mfi.OpCfgForeignClear, 0, foreignClear},
	{mfi.OpBBUGetStatus, 0, ofBattery(batteryStatus)},
	{mfi.OpBBUGetCapacity, 0, ofBattery(batteryCapacity)},
	{mfi.OpBBUGetDesign, 0, ofBattery(batteryDesignInfo)},
	{mfi.OpBBUStartLearn, 0, startLearning},
	{mfi.OpBBUGetProp, 0, ofBattery(func(*gauge) []byte { return batteryProperties.Marshal() })},
	{mfi.OpBBUSetProp, 0, setBatteryProperties},
}

// dcmd carries out a management command.
func (r *request) dcmd() (status mfi.Status, done bool) {
	op := r.frame.Opcode()
	if op == mfi.OpCtrlEventWait {
		return eventWait(r.c, r)
	}
	for i := range commands {
		if commands[i].op != op {
			continue
		}
		if r.dataLen() < commands[i].room {
			return mfi.StatusInvalidParameter, true
		}
		return commands[i].run(r.c, r), true
	}
	r.c.warn("management command is not supported", "opcode", op.String())
	return mfi.StatusInvalidDCMD, true
}

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

// noHardware is the answer about an alarm, which the card is without.
func noHardware(*Controller, *request) mfi.Status { return mfi.StatusNoHWPresent }
