package megasas

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/govmm/govmm/megasas/mfi"
)

// The contents of the NVRAM are sealed sections, all fields little endian, each of
// them:
//
//	0  4  what it is, nvramProperties and others
//	4  4  its length
//	8     its data, as the section has it
//
// A section of a kind that is not known is skipped, and one that is missing has
// the factory's values: sections can be added without a new version.
var nvramSeal = seal{magic: "GOVMMNVR", version: 1, is: "the contents of an NVRAM"}

const (
	nvramProperties = 1 // mfi.ControllerProperties
	nvramBIOS       = 2 // mfi.BIOSData
	nvramLog        = 3 // mfi.EventLogInfo, and 1 in a byte if Newest is exact
	nvramEvents     = 4 // mfi.Event, one after the other
	nvramDrives     = 5 // driveRecord, one after the other
	nvramClock      = 6 // how far the card's clock is ahead of the host's, nanoseconds
	nvramModes      = 7 // modeRecord, one after the other
	nvramBattery    = 8 // mfi.BBUProperties, and the cycles that the battery has learned (2)
	nvramReserved   = 9 // reservationRecord, one after the other
)

// driveRecordLen is the length of a driveRecord in the NVRAM: WWN, when it was
// seen last, seconds powered on, bytes read and written (8 bytes each), power
// cycles (4), zero (4), and the serial number (24).
const driveRecordLen = 5*8 + 2*4 + 24

// maxSequence is the highest sequence number that the log goes on from: there is
// room enough above it for all the events of a life.
const maxSequence = 1<<32 - 1<<24

// nvramContents is what the card does not forget.
type nvramContents struct {
	properties *mfi.ControllerProperties // nil: the factory's
	bios       *mfi.BIOSData             // nil: the factory's
	log        mfi.EventLogInfo
	exact      bool // log.Newest is the newest event, and not beyond it
	events     []mfi.Event
	drives     []driveRecord
	clock      int64
	modes      []modeRecord

	reservations []reservationRecord

	battery *batteryLife // nil: as it came
}

func (x *nvramContents) marshal() []byte {
	b := make([]byte, sealLen, sealLen+1024+mfi.EventLen*len(x.events)+driveRecordLen*len(x.drives))
	le := binary.LittleEndian
	section := func(kind uint32, data ...[]byte) {
		at := len(b)
		b = le.AppendUint64(b, uint64(kind))
		for _, p := range data {
			b = append(b, p...)
		}
		le.PutUint32(b[at+4:], uint32(len(b)-at-8))
	}
	if x.properties != nil {
		section(nvramProperties, x.properties.Marshal())
	}
	if x.bios != nil {
		section(nvramBIOS, x.bios.Marshal())
	}
	exact := byte(0)
	if x.exact {
		exact = 1
	}
	section(nvramLog, x.log.Marshal(), []byte{exact})
	events := make([][]byte, len(x.events))
	for i := range x.events {
		events[i] = x.events[i].Marshal()
	}
	section(nvramEvents, events...)
	drives := make([][]byte, len(x.drives))
	for i := range x.drives {
		drives[i] = x.drives[i].marshal()
	}
	section(nvramDrives, drives...)
	section(nvramClock, le.AppendUint64(nil, uint64(x.clock)))
	var records [][]byte
	for _, r := range x.modes {
		records = append(records, r.marshal())
	}
	section(nvramModes, records...)
	records = nil
	for _, r := range x.reservations {
		records = append(records, r.marshal())
	}
	section(nvramReserved, records...)
	if x.battery != nil {
		section(nvramBattery, x.battery.props.Marshal(), le.AppendUint16(nil, x.battery.cycles))
	}
	return nvramSeal.close(b)
}

// parseNVRAM reads what marshal returned.
func parseNVRAM(b []byte) (*nvramContents, error) {
	body, err := nvramSeal.open(b)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	x := &nvramContents{log: mfi.EventLogInfo{Oldest: 1}, exact: true}
	for len(body) > 0 {
		if len(body) < 8 || uint64(len(body)-8) < uint64(le.Uint32(body[4:])) {
			return nil, errors.New("a section is cut off")
		}
		kind, data := le.Uint32(body), body[8:8+le.Uint32(body[4:])]
		body = body[8+len(data):]
		if err := x.section(kind, data); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// section takes a section over.
func (x *nvramContents) section(kind uint32, data []byte) error {
	element := map[uint32]int{
		nvramProperties: mfi.ControllerPropertiesLen,
		nvramBIOS:       mfi.BIOSDataLen,
		nvramLog:        mfi.EventLogInfoLen + 1,
		nvramEvents:     mfi.EventLen,
		nvramDrives:     driveRecordLen,
		nvramClock:      8,
		nvramModes:      modeRecordLen,
		nvramReserved:   reservationRecordLen,
		nvramBattery:    mfi.BBUPropertiesLen + 2,
	}[kind]
	switch {
	case element == 0:
		return nil
	case len(data)%element != 0:
		return fmt.Errorf("section %d of %d bytes: must be a multiple of %d", kind, len(data), element)
	}
	for ; len(data) > 0; data = data[element:] {
		switch kind {
		case nvramProperties:
			p := mfi.ParseControllerProperties((*[mfi.ControllerPropertiesLen]byte)(data))
			x.properties = &p
		case nvramBIOS:
			p := mfi.ParseBIOSData((*[mfi.BIOSDataLen]byte)(data))
			x.bios = &p
		case nvramLog:
			x.log = mfi.ParseEventLogInfo((*[mfi.EventLogInfoLen]byte)(data))
			x.exact = data[mfi.EventLogInfoLen] != 0
			if l := x.log; l.Newest > maxSequence || l.Oldest == 0 || l.Oldest > l.Newest+1 {
				return fmt.Errorf("an event log from %d to %d", l.Oldest, l.Newest)
			}
		case nvramEvents:
			x.events = append(x.events, mfi.ParseEvent((*[mfi.EventLen]byte)(data)))
		case nvramDrives:
			x.drives = append(x.drives, parseDriveRecord(data))
		case nvramClock:
			x.clock = int64(binary.LittleEndian.Uint64(data))
		case nvramModes:
			x.modes = append(x.modes, parseModeRecord(data))
		case nvramReserved:
			x.reservations = append(x.reservations, parseReservationRecord(data))
		case nvramBattery:
			x.battery = &batteryLife{
				props:  mfi.ParseBBUProperties((*[mfi.BBUPropertiesLen]byte)(data)),
				cycles: binary.LittleEndian.Uint16(data[mfi.BBUPropertiesLen:]),
			}
		}
	}
	return nil
}
