package megasas

import (
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// Personality is what makes one card of the family differ from another: pure
// data.
type Personality struct {
	Vendor, Device, SubVendor, SubDevice uint16
	Revision                             uint8

	Product        string // the card's name, as management tools show it
	PackageVersion string
	Components     []mfi.Component
	BoardSerial    string // if Config has none

	// What volumes call themselves in INQUIRY.
	VolumeVendor, VolumeProduct, VolumeRevision string

	Limits            mfi.Limits
	IEEE              bool   // takes IEEE scatter-gather elements
	MaxRequestSectors uint32 // in one frame, of 512 bytes
	MaxStripsPerIO    uint16
	StripeMin         uint8 // log2 of sectors
	StripeMax         uint8
	Vectors           int // of MSI-X
	// AnnounceMSIX tells the driver of MSI-X in the state word; Linux uses the
	// pin otherwise, whatever configuration space says.
	AnnounceMSIX bool

	MemoryMiB, FlashMiB, NVRAMKiB uint16

	// Boot is the states that the firmware goes through before READY, after
	// power-on and after a diagnostic reset.
	Boot []BootStep

	layout layout
}

// BootStep is a firmware state on the way to READY. The firmware stays in it
// for Delay; in WAIT_HANDSHAKE and BOOT_MESSAGE_PENDING it stays until the
// guest rings the doorbell for it.
type BootStep struct {
	State mfi.State
	Delay time.Duration
}

// SAS9260 is the LSI MegaRAID SAS 9260-8i: a SAS 2108 with eight ports and
// 512 MiB of cache.
//
// The limits are safe for Linux, which reserves 1024 bytes for a frame whatever
// the card says: 61 IEEE elements fit, 60 are advertised.
func SAS9260() Personality {
	return Personality{
		Vendor:         0x1000,
		Device:         0x0079,
		SubVendor:      0x1000,
		SubDevice:      0x9261,
		Revision:       5,
		Product:        "LSI MegaRAID SAS 9260-8i",
		PackageVersion: "12.15.0-0239",
		Components: []mfi.Component{
			{Name: "APP", Version: "2.130.403-4660", BuildDate: "Aug 14 2015", BuildTime: "02:38:00"},
			{Name: "BTBL", Version: "2.02.00.00-0000", BuildDate: "Sep 16 2009", BuildTime: "21:37:06"},
		},
		BoardSerial:       "SV00000001",
		VolumeVendor:      "LSI",
		VolumeProduct:     "MR9260-8i",
		VolumeRevision:    "2.13",
		Limits:            mfi.Limits{MaxCommands: 1008, MaxSGE: 60},
		IEEE:              true,
		MaxRequestSectors: 8192,
		MaxStripsPerIO:    42,
		StripeMin:         4,
		StripeMax:         11,
		Vectors:           15,
		AnnounceMSIX:      true,
		MemoryMiB:         512,
		FlashMiB:          8,
		NVRAMKiB:          32,
		Boot: []BootStep{
			{State: mfi.StateBBInit},
			{State: mfi.StateFWInit},
			{State: mfi.StateFWInit2},
			{State: mfi.StateDeviceScan},
		},
		layout: gen2(),
	}
}

// PERCH700 is the Dell PERC H700 Adapter: the same controller with Dell's names.
func PERCH700() Personality {
	p := perc("PERC H700")
	p.SubDevice = 0x1f16
	return p
}

// PERCH800 is the Dell PERC H800 Adapter: the same with its ports outside.
func PERCH800() Personality {
	p := perc("PERC H800")
	p.SubDevice = 0x1f15
	return p
}

// perc is what Dell's cards have in common.
func perc(model string) Personality {
	p := SAS9260()
	p.SubVendor = 0x1028
	p.Product = model + " Adapter"
	p.PackageVersion = "12.10.6-0001"
	p.Components = []mfi.Component{
		{Name: "APP", Version: "2.100.03-1584", BuildDate: "Jun 01 2012", BuildTime: "10:00:00"},
		{Name: "BTBL", Version: "2.02.00.00-0000", BuildDate: "Sep 16 2009", BuildTime: "21:37:06"},
	}
	p.VolumeVendor = "DELL"
	p.VolumeProduct = model
	p.VolumeRevision = "2.10"
	return p
}

// SAS8708EM2 is the LSI MegaRAID SAS 8708EM2: a SAS 1078 of the first
// generation, with eight ports and 128 MiB of cache. It takes no IEEE elements:
// 80 of 12 bytes fit into what Linux reserves for a frame. Its driver uses the
// pin for interrupts.
func SAS8708EM2() Personality {
	p := SAS9260()
	p.Device = 0x0060
	p.SubDevice = 0x1013
	p.Revision = 4
	p.Product = "LSI MegaRAID SAS 8708EM2"
	p.PackageVersion = "11.0.1-0048"
	p.Components = []mfi.Component{
		{Name: "APP", Version: "1.40.322-1533", BuildDate: "Mar 13 2013", BuildTime: "10:36:24"},
		{Name: "BTBL", Version: "1.00.00.01-0011", BuildDate: "Jan 26 2009", BuildTime: "15:10:05"},
	}
	p.VolumeProduct = "MR8708EM2"
	p.VolumeRevision = "1.40"
	p.Limits.MaxSGE = 80
	p.IEEE = false
	p.AnnounceMSIX = false
	p.Vectors = 4
	p.MemoryMiB = 128
	p.layout = gen1()
	return p
}
