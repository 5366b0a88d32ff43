package main

import (
	"fmt"
	"hash/fnv"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
)

// diskSpec is a value of --disk.
type diskSpec struct {
	text   string // as it was given
	medium block.Spec
	cache  raid.CachePolicy
	serial string
	sata   bool // or SAS
	hdd    bool // or solid state
	system bool // or a volume
	// logical and physical are the sizes of blocks in bytes, 0 if they were not given.
	logical, physical uint32
	id                string // name of drive and medium to those who control the machine; empty: by number
	onError           megasas.ErrorPolicy

	optical bool // the disc of --cdrom, which is no value of --disk
}

// parseDisk reads a value of --disk.
func parseDisk(text string) (diskSpec, error) {
	medium, rest, err := block.ParseSpec(text)
	if err != nil {
		return diskSpec{}, fmt.Errorf("--disk: %w", err)
	}
	d := diskSpec{text: text, medium: medium, cache: raid.WriteThrough, onError: defaultErrorPolicy}
	for _, key := range slices.Sorted(maps.Keys(rest)) {
		if err := d.set(key, rest[key]); err != nil {
			return d, fmt.Errorf("--disk: disk %q: %w", text, err)
		}
	}
	if d.physical != 0 && d.physical < d.logical {
		return d, fmt.Errorf("--disk: disk %q: physical_block_size=%d: must not be less than logical_block_size=%d", text, d.physical, d.logical)
	}
	return d, nil
}

// set applies a key that is about the drive rather than its storage.
func (d *diskSpec) set(key, value string) error {
	switch key {
	case "cache":
		return d.setCache(value)
	case "serial":
		const longest = 20 // of a drive
		if value == "" || len(value) > longest {
			return fmt.Errorf("serial=%s: must have 1 to %d characters", value, longest)
		}
		d.serial = value
	case "id":
		if !validName(value) {
			return fmt.Errorf("id=%s: must be letters, digits and -._, a letter first", value)
		}
		d.id = value
	case "werror":
		return errorAction(key, value, writeErrorActions, &d.onError.Write)
	case "rerror":
		return errorAction(key, value, readErrorActions, &d.onError.Read)
	case "interface":
		return either(key, value, &d.sata, "sas", "sata")
	case "media":
		return either(key, value, &d.hdd, "ssd", "hdd")
	case "logical_block_size":
		return blockSize(key, value, &d.logical)
	case "physical_block_size":
		return blockSize(key, value, &d.physical)
	case "use":
		return either(key, value, &d.system, "volume", "system")
	default:
		return fmt.Errorf("unknown key %q: \"govmm help run\" lists them", key)
	}
	return nil
}

// withBattery is a cache mode of the controller's: writeback while it has a good
// battery, writethrough otherwise.
const withBattery = "writeback-bbu"

// setCache chooses a cache mode by QEMU's name for it, or withBattery. Making writes
// durable is the volume's work, not the medium's.
func (d *diskSpec) setCache(mode string) error {
	if mode == withBattery {
		d.cache = raid.WriteBackWithBattery
		return nil
	}
	medium := d.medium
	through, err := medium.SetCacheMode(mode)
	if err != nil {
		return err
	}
	d.cache = raid.WriteBack
	if through {
		d.cache = raid.WriteThrough
	}
	d.medium.Direct = d.medium.Direct || medium.Direct
	d.medium.NoFlush = d.medium.NoFlush || medium.NoFlush
	return nil
}

// validName reports whether text can be the name of something of the machine.
func validName(text string) bool {
	for i, c := range text {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-._", c)) {
			return false
		}
	}
	return text != ""
}

// defaultErrorPolicy is QEMU's: a guest whose host has no space left waits for some,
// instead of losing what it wrote. Everything else it is told.
var defaultErrorPolicy = megasas.ErrorPolicy{Read: megasas.ReportError, Write: megasas.StopOnNoSpace}

// What can become of transfers that fail.
var (
	readErrorActions  = []megasas.ErrorAction{megasas.IgnoreError, megasas.ReportError, megasas.StopOnError}
	writeErrorActions = append([]megasas.ErrorAction{megasas.StopOnNoSpace}, readErrorActions...)
)

// errorAction sets what becomes of transfers that fail, by QEMU's word for it.
func errorAction(key, value string, allowed []megasas.ErrorAction, action *megasas.ErrorAction) error {
	var words []string
	for _, a := range allowed {
		if a.String() == value {
			*action = a
			return nil
		}
		words = append(words, a.String())
	}
	return fmt.Errorf("%s=%s: must be %s", key, value, orList(words))
}

// blockSize sets the size of a block.
func blockSize(key, value string, size *uint32) error {
	sizes := map[string]uint32{"512": 512, "4096": 4096}
	if sizes[value] == 0 {
		return fmt.Errorf("%s=%s: must be 4096 or 512", key, value)
	}
	*size = sizes[value]
	return nil
}

// either sets a switch by one of two words.
func either(key, value string, on *bool, no, yes string) error {
	words := []string{no, yes}
	if !slices.Contains(words, value) {
		slices.Sort(words)
		return fmt.Errorf("%s=%s: must be %s", key, value, orList(words))
	}
	*on = value == yes
	return nil
}

// identity is what the drive in a slot tells of itself. The same image is the
// same drive, in whatever slot it sits.
func (d diskSpec) identity(slot int) raid.DriveIdentity {
	h := fnv.New64a()
	serial := d.serial
	if serial == "" {
		fmt.Fprint(h, d.name(slot))
		serial = fmt.Sprintf("%016X", h.Sum64())
	} else {
		fmt.Fprint(h, serial)
	}
	id := raid.DriveIdentity{
		Vendor:    "GOVMM",
		Product:   "VIRTUAL DISK",
		Revision:  "1.0",
		Serial:    serial,
		WWN:       3<<60 | h.Sum64()>>4, // NAA 3: locally assigned
		Media:     raid.SolidState,
		Interface: raid.SAS,
		Enclosure: raid.NoEnclosure,
		Slot:      uint8(slot),

		BlockSize:         d.logical,
		PhysicalBlockSize: d.physical,
	}
	if d.sata {
		id.Vendor, id.Product, id.Interface = "ATA", "GOVMM SATA DISK", raid.SATA
	}
	if d.hdd {
		id.Media = raid.Rotating
	}
	if d.optical {
		id.Product, id.Media = "VIRTUAL CD-ROM", raid.Optical
	}
	return id
}

// name tells the storage from any other on this host.
func (d diskSpec) name(slot int) string {
	if d.medium.Path == "" {
		return fmt.Sprint("slot ", slot)
	}
	path, err := filepath.Abs(d.medium.Path)
	if err != nil { // there is no working directory
		return d.medium.Path
	}
	return path
}
