package scsi

import (
	"math"
	"time"
)

// Health is what a unit tells of its state in log pages, beyond what it counts
// itself. What is not known is left out, with the page that is about it. The
// functions may be called from any number of goroutines.
type Health struct {
	// Temperature returns the present temperature in degrees Celsius.
	Temperature func() int
	// ReferenceTemperature is the highest for continuous operation. 0 is not
	// known.
	ReferenceTemperature uint8
	// PowerOn returns how long the unit has been powered on in its life.
	PowerOn func() time.Duration
	// Ports are the SAS ports, in the order of their relative identifiers from 1.
	Ports []SASPort
}

// SASPort is a port with one phy of a unit on SAS.
type SASPort struct {
	Address     uint64 // SAS address of the port
	Attached    uint64 // SAS address of what is attached to it
	AttachedPhy uint8
	// LinkRate is the negotiated logical link rate as SPL has it: 8 is 1.5,
	// 9 is 3, 10 is 6 and 11 is 12 Gbit/s.
	LinkRate uint8
}

// unknownTemperature stands for one that is not known.
const unknownTemperature = 0xFF

// temperature returns the present temperature as log pages have it.
func (h *Health) temperature() byte {
	if h.Temperature == nil {
		return unknownTemperature
	}
	return byte(min(max(h.Temperature(), 0), unknownTemperature-1))
}

// reference returns the reference temperature as log pages have it.
func (h *Health) reference() byte {
	if h.ReferenceTemperature == 0 {
		return unknownTemperature
	}
	return h.ReferenceTemperature
}

// minutes and hours return the time powered on, 0 if it is not known.
func (h *Health) minutes() uint32 {
	if h.PowerOn == nil {
		return 0
	}
	return uint32(min(max(h.PowerOn()/time.Minute, 0), math.MaxUint32))
}

func (h *Health) hours() uint16 { return uint16(min(h.minutes()/60, math.MaxUint16)) }
