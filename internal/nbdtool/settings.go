package nbdtool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
)

// settings are what the options say.
type settings struct {
	port, bind, socket string
	shared             int
	persistent         bool
	verbose            bool
	name, description  string
	offset             uint64
	depth              bool
	bitmaps            []string
	list               bool
	objects            *blockopt.Objects
	tlsCreds           string
	tlsHostname        string
	tlsAuthz           string
	fork               bool
	pidFile            string
	label              string
	connect            string
	disconnect         bool
	format             string
	readOnly           bool
	overlay            bool
	snapshot           *qcow2.SnapshotRef
	cache              string
	native             bool
	discard            string
	detect             string
	imageOpts          bool

	seen map[string]bool // options that may be given only once, and those of a disk
	info string          // help, version or events
	warn func(string)    // prints a warning
}

// set takes an option by its long name.
func (s *settings) set(name, value string) error {
	switch name {
	case "help", "version":
		s.info = name
		return errInfo
	case "port":
		s.port = value
	case "bind":
		s.bind = value
	case "socket":
		if !strings.HasPrefix(value, "/") {
			return errors.New("socket path must be absolute")
		}
		s.socket = value
	case "shared":
		n, err := strconv.ParseInt(value, 0, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("Invalid shared device number '%s'", value)
		}
		s.shared = int(n)
	case "persistent":
		s.persistent = true
	case "verbose":
		s.verbose = true
	case "object":
		return s.objects.Add(value)
	case "tls-creds":
		s.tlsCreds = value
	case "tls-hostname":
		s.tlsHostname = value
	case "tls-authz":
		s.tlsAuthz = value
	case "fork":
		s.fork = true
	case "pid-file":
		s.pidFile = value
	case "selinux-label":
		s.label = value
	case "list":
		s.list = true
	case "disconnect":
		s.disconnect = true
	case "read-only":
		s.readOnly = true
	case "snapshot":
		s.overlay = true
	case "image-opts":
		s.imageOpts = true
	case "trace":
		listed, missing := blockopt.Trace(value)
		if listed {
			s.info = "events" // of which there are none
			return errInfo
		}
		if missing != "" {
			s.warn("warning: " + missing)
		}
	default:
		err := s.setDisk(name, value)
		s.seen[name] = true
		return err
	}
	return nil
}

// setDisk takes the options that say which disk is exported, and how, and which a list
// of exports therefore has no use for.
func (s *settings) setDisk(name, value string) error {
	switch name {
	case "export-name":
		s.name = value
	case "description":
		s.description = value
	case "offset":
		var err error
		if s.offset, err = strconv.ParseUint(strings.TrimPrefix(value, "-"), 0, 64); err != nil {
			return fmt.Errorf("Invalid offset '%s'", value)
		}
		if strings.HasPrefix(value, "-") { // as strtoull has it
			s.offset = -s.offset
		}
	case "allocation-depth":
		s.depth = true
	case "bitmap":
		s.bitmaps = append(s.bitmaps, value)
	case "connect":
		s.connect = value
	case "format":
		s.format = value
	case "load-snapshot":
		s.readOnly = true
		var err error
		s.snapshot, err = blockopt.ParseSnapshot(value, s.objects.Warn)
		return err
	case "nocache", "cache":
		if s.seen["nocache"] || s.seen["cache"] {
			return errors.New("-n and --cache can only be specified once")
		}
		if s.cache = value; name == "nocache" {
			s.cache = "none"
		}
		if _, err := new(block.Spec).SetCacheMode(s.cache); err != nil {
			return fmt.Errorf("Invalid cache mode `%s'", value)
		}
	default:
		return s.setMode(name, value)
	}
	return nil
}

// setMode takes an option that has one of a few values.
func (s *settings) setMode(name, value string) error {
	if s.seen[name] && name != "detect-zeroes" {
		return fmt.Errorf("--%s can only be specified once", name)
	}
	switch name {
	case "aio":
		if !slices.Contains([]string{"threads", "native", "io_uring"}, value) {
			return fmt.Errorf("Invalid aio mode '%s'", value)
		}
		s.native = value == "native"
	case "discard":
		if !slices.Contains([]string{"ignore", "off", "unmap", "on"}, value) {
			return fmt.Errorf("Invalid discard mode `%s'", value)
		}
		s.discard = value
	case "detect-zeroes":
		if !slices.Contains([]string{"off", "on", "unmap"}, value) {
			return fmt.Errorf("Failed to parse detect_zeroes mode: invalid parameter value: %s", value)
		}
		if value == "unmap" && !s.unmaps() {
			return errors.New("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
		}
		s.detect = value
	}
	return nil
}

// unmaps reports whether discarded storage is given back.
func (s *settings) unmaps() bool { return s.discard == "unmap" || s.discard == "on" }

// maxName bounds names and descriptions of exports, in bytes.
const maxName = 4096

// check finds what does not go together, in the order in which qemu-nbd does.
func (s *settings) check(operands int) error {
	switch {
	case s.list && operands > 0:
		return errors.New("List mode is incompatible with a file name")
	case s.list && len(s.seen) > 0:
		return errors.New("List mode is incompatible with per-device settings")
	case s.list && s.fork:
		return errors.New("List mode is incompatible with forking")
	case !s.list && operands != 1:
		return errOperands
	case len(s.name) > maxName:
		return fmt.Errorf("export name '%s' too long", s.name)
	case len(s.description) > maxName:
		return fmt.Errorf("export description '%s' too long", s.description)
	case s.tlsCreds == "" && s.tlsAuthz != "":
		return errors.New("--tls-authz is not permitted without --tls-creds")
	case s.tlsCreds == "" && s.tlsHostname != "":
		return errors.New("--tls-hostname is not permitted without --tls-creds")
	case s.label != "" && s.socket == "":
		return errors.New("--selinux-label is not permitted without --socket")
	}
	return s.refuse()
}

// refuse says which options are not supported.
func (s *settings) refuse() error {
	switch {
	case s.tlsCreds != "" && s.connect != "":
		return errors.New("TLS is not supported with a host device")
	case s.tlsAuthz != "" && s.list:
		return errors.New("TLS authorization is incompatible with export list")
	case s.tlsHostname != "" && !s.list:
		return errors.New("TLS hostname is only supported with export list")
	case s.label != "":
		return errors.New("SELinux support not enabled in this binary")
	case s.connect != "" || s.disconnect:
		return errors.New("Kernel /dev/nbdN support not available")
	case s.imageOpts && s.format != "":
		return errors.New("--image-opts and -f are mutually exclusive")
	case s.offset > math.MaxInt64:
		return blockopt.SizeError("offset")
	}
	return nil
}
