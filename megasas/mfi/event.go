package mfi

import "fmt"

// EventCode says what happened.
type EventCode uint32

// Event codes. Linux acts on those marked with a star: it asks for the lists
// again. Their numbers are those of the event list in LSI's MegaRAID SAS Software User
// Guide, as far as open programs that read logs have them; those about what was
// aborted or has failed (43, 44, 52, 53) fill the places between numbers that these
// have, in the list's order.
const (
	EventFWInitStarted      EventCode = 0x0000
	EventFWVersion          EventCode = 0x0001
	EventConfigCleared      EventCode = 0x0004 // *
	EventLogCleared         EventCode = 0x001e
	EventShutdownReceived   EventCode = 0x002a
	EventTimeEstablished    EventCode = 0x002c
	EventLDInitAborted      EventCode = 0x0043
	EventLDInitFailed       EventCode = 0x0044
	EventLDInitProgress     EventCode = 0x0045
	EventLDInitFastStarted  EventCode = 0x0046
	EventLDInitFullStarted  EventCode = 0x0047
	EventLDInitComplete     EventCode = 0x0048
	EventLDPropertiesSet    EventCode = 0x0049
	EventLDStateChange      EventCode = 0x0051 // *
	EventPDClearAborted     EventCode = 0x0052
	EventPDClearFailed      EventCode = 0x0053
	EventPDClearComplete    EventCode = 0x0054
	EventPDClearProgress    EventCode = 0x0055
	EventPDClearStarted     EventCode = 0x0056
	EventPDError            EventCode = 0x0057
	EventPDInserted         EventCode = 0x005b // *
	EventPDRemoved          EventCode = 0x0070 // *
	EventPDStateChange      EventCode = 0x0072
	EventLDCreated          EventCode = 0x008a // *
	EventLDDeleted          EventCode = 0x008b // *
	EventBatteryPresent     EventCode = 0x008d
	EventBatteryAbsent      EventCode = 0x008e
	EventBatteryCharging    EventCode = 0x0093
	EventBatteryDischarging EventCode = 0x0094
	EventLearnStarted       EventCode = 0x0097
	EventLearnInProgress    EventCode = 0x0098
	EventLearnCompleted     EventCode = 0x0099
	EventLearnPending       EventCode = 0x009b
	EventLearnIn4Days       EventCode = 0x009d
	EventLearnIn2Days       EventCode = 0x009e
	EventLearnIn1Day        EventCode = 0x009f
	EventLearnIn5Hours      EventCode = 0x00a0
	EventBBUEnabled         EventCode = 0x00c2
	EventBBUDisabled        EventCode = 0x00c3
	EventBatteryCharged     EventCode = 0x00f2
	EventLDOptimal          EventCode = 0x00f9
	EventLDOffline          EventCode = 0x00fc // *
	EventPropertiesChanged  EventCode = 0x012f // *
	EventHostBusScanRequest EventCode = 0x0152 // *
)

// EventClass is the severity of an event.
type EventClass int8

// Event classes.
const (
	ClassDebug    EventClass = -2
	ClassProgress EventClass = -1
	ClassInfo     EventClass = 0
	ClassWarning  EventClass = 1
	ClassCritical EventClass = 2
	ClassFatal    EventClass = 3
	ClassDead     EventClass = 4
)

// String returns the class's name, or its number if it has none.
func (c EventClass) String() string {
	names := [...]string{"debug", "progress", "info", "warning", "critical", "fatal", "dead"}
	if i := int(c) - int(ClassDebug); i >= 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("EventClass(%d)", int8(c))
}

// EventLocale is the set of parts of the system that an event is about.
type EventLocale uint16

// Event locales.
const (
	LocaleLD         EventLocale = 0x01
	LocalePD         EventLocale = 0x02
	LocaleEnclosure  EventLocale = 0x04
	LocaleBBU        EventLocale = 0x08
	LocaleSAS        EventLocale = 0x10
	LocaleController EventLocale = 0x20
	LocaleConfig     EventLocale = 0x40
	LocaleCluster    EventLocale = 0x80
	LocaleAll        EventLocale = 0xffff
)

// EventFilter is a class and a set of locales in one word: what an event is,
// or what a reader wants. Locales are the low half, the class the top byte.
type EventFilter uint32

// Filter joins a class and locales.
func Filter(c EventClass, l EventLocale) EventFilter {
	return EventFilter(uint32(uint8(c))<<24 | uint32(l))
}

// Class is the severity: the event's own, or the least that is wanted.
func (f EventFilter) Class() EventClass { return EventClass(uint8(f >> 24)) }

// Locale is the set of locales.
func (f EventFilter) Locale() EventLocale { return EventLocale(f) }

// Matches reports whether an event of class and locales e is wanted.
func (f EventFilter) Matches(e EventFilter) bool {
	return e.Class() >= f.Class() && e.Locale()&f.Locale() != 0
}

// EventLogInfoLen is the size of EventLogInfo.
const EventLogInfoLen = 20

// EventLogInfo is the payload of CTRL_EVENT_GET_INFO: sequence numbers of the
// newest event and the oldest still held, and of the last clearing, shutdown
// and boot.
type EventLogInfo struct {
	Newest, Oldest, Clear, Shutdown, Boot uint32
}

// Marshal returns the payload's 20 bytes.
func (x EventLogInfo) Marshal() []byte {
	b := make(record, EventLogInfoLen)
	b.u32(0, x.Newest)
	b.u32(4, x.Oldest)
	b.u32(8, x.Clear)
	b.u32(12, x.Shutdown)
	b.u32(16, x.Boot)
	return b
}

// ParseEventLogInfo reads what Marshal returned.
func ParseEventLogInfo(p *[EventLogInfoLen]byte) EventLogInfo {
	b := record(p[:])
	return EventLogInfo{
		Newest:   b.get32(0),
		Oldest:   b.get32(4),
		Clear:    b.get32(8),
		Shutdown: b.get32(12),
		Boot:     b.get32(16),
	}
}

// EventLen is the size of Event.
const EventLen = 256

// Event is the payload of CTRL_EVENT_WAIT, and the element of CTRL_EVENT_GET.
type Event struct {
	Sequence    uint32
	Time        uint32 // see Seconds
	Code        EventCode
	Filter      EventFilter
	Args        EventArgs // nil for none
	Description string
}

// Marshal returns the event's 256 bytes.
func (x *Event) Marshal() []byte {
	b := make(record, EventLen)
	x.marshal(b)
	return b
}

func (x *Event) marshal(b record) {
	b.u32(0x00, x.Sequence)
	b.u32(0x04, x.Time)
	b.u32(0x08, uint32(x.Code))
	b.u32(0x0c, uint32(x.Filter))
	if x.Args != nil {
		b.u8(0x10, x.Args.kind())
		x.Args.put(b[0x20:0x80])
	}
	b.str(0x80, 128, x.Description)
}

// ParseEvent reads what Marshal returned. Its Args are ArgsRaw.
func ParseEvent(p *[EventLen]byte) Event {
	b := record(p[:])
	x := Event{
		Sequence:    b.get32(0x00),
		Time:        b.get32(0x04),
		Code:        EventCode(b.get32(0x08)),
		Filter:      EventFilter(b.get32(0x0c)),
		Description: b.text(0x80, 128),
	}
	if kind := b[0x10]; kind != 0 {
		x.Args = ArgsRaw{Kind: kind, Data: [96]byte(b[0x20:0x80])}
	}
	return x
}

// EventListHeaderLen is the least that a reader of the event list must offer.
const EventListHeaderLen = listHeaderLen

// MarshalEventList returns the payload of CTRL_EVENT_GET.
func MarshalEventList(l []Event) []byte {
	b := make(record, EventListHeaderLen+EventLen*len(l))
	b.u32(0, uint32(len(l)))
	for i := range l {
		l[i].marshal(b[EventListHeaderLen+EventLen*i:])
	}
	return b
}
