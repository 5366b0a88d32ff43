package imgtool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
)

// optionKind is the type of a creation option.
type optionKind int

const (
	kindString optionKind = iota
	kindSize
	kindNumber
	kindSwitch
)

func (k optionKind) String() string {
	return [...]string{"str", "size", "num", "bool (on/off)"}[k]
}

// formatOption describes an option of -o.
type formatOption struct {
	name string
	kind optionKind
	help string
	// amend says that amend knows it as well; only that amend alone does.
	amend, only bool
}

// qcow2Options, sorted by name.
var qcow2Options = []formatOption{
	{"backing_file", kindString, "File name of a base image", true, false},
	{"backing_fmt", kindString, "Image format of the base image", true, false},
	{"cluster_size", kindSize, "qcow2 cluster size", false, false},
	{"compat", kindString, "Compatibility level (v2 [0.10] or v3 [1.1])", true, false},
	{"compression_type", kindString, "Compression method used for image cluster compression", false, false},
	{"data_file", kindString, "File name of an external data file", true, false},
	{"data_file_raw", kindSwitch, "The external data file must stay valid as a raw image", true, false},
	{"encrypt.cipher-alg", kindString, "Name of encryption cipher algorithm", false, false},
	{"encrypt.cipher-mode", kindString, "Name of encryption cipher mode", false, false},
	{"encrypt.format", kindString, "Encrypt the image, format choices: 'aes', 'luks'", false, false},
	{"encrypt.hash-alg", kindString, "Name of encryption hash algorithm", false, false},
	{"encrypt.iter-time", kindNumber, "Time to spend in PBKDF in milliseconds", true, false},
	{"encrypt.ivgen-alg", kindString, "Name of IV generator algorithm", false, false},
	{"encrypt.ivgen-hash-alg", kindString, "Name of IV generator hash algorithm", false, false},
	{"encrypt.key-secret", kindString, "ID of secret providing qcow AES key or LUKS passphrase", false, false},
	{"encrypt.keyslot", kindNumber, "Select a single keyslot to modify explicitly", true, true},
	{"encrypt.new-secret", kindString, "New secret to set in the matching keyslots. Empty string to erase", true, true},
	{"encrypt.old-secret", kindString, "Select all keyslots that match this password", true, true},
	{"encrypt.state", kindString, "Select new state of affected keyslots (active/inactive)", true, true},
	{"encryption", kindSwitch, "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", false, false},
	{"extended_l2", kindSwitch, "Extended L2 tables", false, false},
	{"lazy_refcounts", kindSwitch, "Postpone refcount updates", true, false},
	{"preallocation", kindString, "Preallocation mode (allowed values: off, metadata, falloc, full)", false, false},
	{"refcount_bits", kindNumber, "Width of a reference count entry in bits", true, false},
	{"size", kindSize, "Virtual disk size", true, false},
}

var rawOptions = []formatOption{
	{"size", kindSize, "Virtual disk size", false, false},
}

// fileOptions are those of the protocol, which a file name brings in.
var fileOptions = []formatOption{
	{"extent_size_hint", kindSize, "Extent size hint for the image file, 0 to disable", false, false},
	{"nocow", kindSwitch, "Turn off copy-on-write (valid only on btrfs)", false, false},
	{"preallocation", kindString, "Preallocation mode (allowed values: off, falloc, full)", false, false},
}

// deviceOptions are those of a device, which is there already.
var deviceOptions = []formatOption{
	{"preallocation", kindString, "Preallocation mode (allowed values: off)", false, false},
	{"size", kindSize, "Virtual disk size", false, false},
}

var luksOptions = []formatOption{
	{"cipher-alg", kindString, "Name of encryption cipher algorithm", false, false},
	{"cipher-mode", kindString, "Name of encryption cipher mode", false, false},
	{"hash-alg", kindString, "Name of encryption hash algorithm", false, false},
	{"iter-time", kindNumber, "Time to spend in PBKDF in milliseconds", true, false},
	{"ivgen-alg", kindString, "Name of IV generator algorithm", false, false},
	{"ivgen-hash-alg", kindString, "Name of IV generator hash algorithm", false, false},
	{"key-secret", kindString, "ID of the secret that provides the keyslot passphrase", false, false},
	{"keyslot", kindNumber, "Select a single keyslot to modify explicitly", true, true},
	{"new-secret", kindString, "New secret to set in the matching keyslots. Empty string to erase", true, true},
	{"old-secret", kindString, "Select all keyslots that match this password", true, true},
	{"size", kindSize, "Virtual disk size", false, false},
	{"state", kindString, "Select new state of affected keyslots (active/inactive)", true, true},
}

// createOptionsOf are the creation options of a format, nil if it is not known.
func createOptionsOf(format string) []formatOption {
	switch format {
	case "qcow2":
		return forCreation(qcow2Options)
	case "raw":
		return rawOptions
	case "luks":
		return forCreation(luksOptions)
	case driverFile:
		return merge(rawOptions, fileOptions)
	case driverHostDevice:
		return deviceOptions
	}
	return nil
}

// QEMU's drivers of storage that stand for formats: the bytes of a file or of a device.
const (
	driverFile       = "file"
	driverHostDevice = "host_device"
)

// backingDrivers are drivers of storage that backing files may have by name, besides those.
var backingDrivers = []string{"blkdebug", "nbd", "null-aio", "null-co"}

// isDriver reports whether a format may stand in an image as that of its backing file.
func isDriver(format string) bool {
	return createOptionsOf(format) != nil || slices.Contains(backingDrivers, format)
}

// otherDrivers are QEMU's drivers with which it makes no images.
var otherDrivers = []string{"blkdebug", "blklogwrites", "blkreplay", "blkverify", "bochs", "cloop", "copy-before-write", "copy-on-read", "dmg",
	"null-aio", "null-co", "preallocate", "quorum", "throttle", "vvfat"}

// isOtherDriver reports whether QEMU has a driver of that name, but not for making images.
func isOtherDriver(format string) bool { return slices.Contains(otherDrivers, format) }

// errNoCreation says that no image of a format can be made.
func errNoCreation(format string) error {
	if isOtherDriver(format) {
		return fmt.Errorf("Format driver '%s' does not support image creation", format)
	}
	return fmt.Errorf("Unknown file format '%s'", format)
}

// forCreation leaves out what only amend knows.
func forCreation(options []formatOption) (list []formatOption) {
	for _, o := range options {
		if !o.only {
			list = append(list, o)
		}
	}
	return list
}

// optionsHelp lists creation options; with a file's name also those of its
// protocol.
func optionsHelp(format string, withFile bool) string {
	var b strings.Builder
	list := createOptionsOf(format)
	if withFile {
		b.WriteString("Supported options:\n")
		list = merge(list, fileOptions)
	} else {
		fmt.Fprintf(&b, "Supported %s options:\n", format)
	}
	writeOptions(&b, list)
	if !withFile {
		b.WriteString("\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n")
	}
	return b.String()
}

// amendOptionsOf are the options of amend for a format, nil if that has none.
func amendOptionsOf(format string) (list []formatOption) {
	all := map[string][]formatOption{"qcow2": qcow2Options, "luks": luksOptions}[format]
	for _, o := range all {
		if o.amend {
			list = append(list, o)
		}
	}
	return list
}

// amendHelp lists the options of amend.
func amendHelp(format string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Amend options for '%s':\n", format)
	writeOptions(&b, amendOptionsOf(format))
	return b.String()
}

func writeOptions(b *strings.Builder, list []formatOption) {
	for _, o := range list {
		fmt.Fprintf(b, "  %-22s - %s\n", o.name+"=<"+o.kind.String()+">", o.help)
	}
}

// merge joins two sorted lists; of two with a name the first counts.
func merge(a, b []formatOption) []formatOption {
	var list []formatOption
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].name < b[0].name:
			list, a = append(list, a[0]), a[1:]
		case len(a) == 0 || b[0].name < a[0].name:
			list, b = append(list, b[0]), b[1:]
		default:
			list, a, b = append(list, a[0]), a[1:], b[1:]
		}
	}
	return list
}

// wantsHelp reports whether one of the lists of -o asks for help.
func wantsHelp(lists []string) bool {
	for _, l := range lists {
		for _, o := range blockopt.Split(l) {
			if o.Help() {
				return true
			}
		}
	}
	return false
}

// formatValues are the options of -o, checked against what a format knows.
type formatValues map[string]string

// readOptions reads the lists of -o. warn, if set, prints what there is to say against sizes.
func readOptions(known []formatOption, lists []string, warn func(text string)) (formatValues, error) {
	v := make(formatValues)
	for _, l := range lists {
		for _, o := range blockopt.Split(l) {
			if err := v.set(known, o, warn); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// validList reports whether a list of options is neither empty nor begins or ends
// with a comma that does not stand for itself.
func validList(l string) bool {
	trailing := len(l) - len(strings.TrimRight(l, ","))
	return l != "" && l[0] != ',' && trailing%2 == 0
}

func (v formatValues) set(known []formatOption, o blockopt.Option, warn func(text string)) error {
	for _, k := range known {
		if k.name != o.Name {
			continue
		}
		switch k.kind {
		case kindSwitch:
			if _, ok := blockopt.ParseSwitch(o.Value); !ok {
				return fmt.Errorf("Parameter '%s' expects 'on' or 'off'", o.Name)
			}
		case kindSize:
			blockopt.WarnSize(o.Value, warn)
			if _, err := blockopt.ParseUnsignedSize(o.Value); errors.Is(err, syscall.ERANGE) {
				return fmt.Errorf("Value '%s' is out of range for parameter '%s'", o.Value, o.Name)
			} else if err != nil {
				return blockopt.SizeError(o.Name)
			}
		case kindNumber:
			if _, err := parseNumber(o.Value); errors.Is(err, strconv.ErrRange) {
				return fmt.Errorf("Value '%s' is too large for parameter '%s'", o.Value, o.Name)
			} else if err != nil && !errors.Is(err, syscall.ERANGE) {
				return fmt.Errorf("Parameter '%s' expects a number", o.Name)
			}
		}
		v[o.Name] = o.Value
		return nil
	}
	return fmt.Errorf("Invalid parameter '%s'", o.Name)
}

func (v formatValues) size(name string, otherwise int64) int64 {
	if s, ok := v[name]; ok {
		if n, err := blockopt.ParseUnsignedSize(s); err == nil {
			return int64(n)
		}
	}
	return otherwise
}

func (v formatValues) number(name string, otherwise int64) int64 {
	if s, ok := v[name]; ok {
		if n, err := parseNumber(s); err == nil || errors.Is(err, syscall.ERANGE) {
			return n
		}
	}
	return otherwise
}

func (v formatValues) on(name string) bool {
	on, _ := blockopt.ParseSwitch(v[name])
	return on
}

func (v formatValues) given(name string) bool { _, ok := v[name]; return ok }

func (v formatValues) or(name, otherwise string) string {
	if s, ok := v[name]; ok {
		return s
	}
	return otherwise
}
