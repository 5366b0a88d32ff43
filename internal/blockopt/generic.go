package blockopt

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// defaultNull is the size of a null device in bytes.
const defaultNull = 1 << 30

// null takes the options of a device that forgets.
func (r *resolver) null(s *Source, at func(string) string, strong map[string]any) error {
	s.Spec.Size = defaultNull
	s.Name = s.Protocol + "://"
	for _, name := range []string{"size", "read-zeroes", "latency-ns"} {
		v, spelled, ok := r.rest.take(at(name))
		if !ok {
			continue
		}
		if name == "latency-ns" {
			n, err := strconv.ParseInt(v, 0, 64)
			switch {
			case err != nil:
				return fmt.Errorf("Parameter '%s' expects a number", name)
			case n < 0:
				return fmt.Errorf("%s is invalid", name)
			}
			s.Spec.Latency = time.Duration(n)
			continue
		}
		strong[name] = spelled
		switch name {
		case "size":
			n, err := r.size(name, v)
			if err != nil {
				return err
			}
			s.Spec.Size = n
		}
	}
	return nil
}

// generic takes the options that all drivers have, here or under "file"; here they
// count more.
func (r *resolver) generic(s *Source, at func(string) string) error {
	for _, under := range []string{"file.", ""} {
		for _, b := range []struct {
			name string
			to   *bool
		}{
			{"read-only", &s.Spec.ReadOnly}, {"force-share", &s.Spec.ForceShare},
			{"cache.direct", &s.Spec.Direct}, {"cache.no-flush", &s.Spec.NoFlush},
		} {
			if err := r.onOff(at(under+b.name), b.name, b.to); err != nil {
				return err
			}
		}
		switch v, _, ok := r.rest.take(at(under + "discard")); {
		case !ok || under != "":
		case v == "unmap" || v == "on":
			s.Discard = true
		case v == "ignore" || v == "off":
			s.KeepDiscarded = true
		default:
			return errors.New("Invalid discard option")
		}
		var unused bool
		if err := r.onOff(at(under+"auto-read-only"), "auto-read-only", &unused); err != nil {
			return err
		}
		switch v, _, ok := r.rest.take(at(under + "detect-zeroes")); {
		case !ok:
		case v != "off" && v != "on" && v != "unmap":
			return fmt.Errorf("invalid parameter value: %s", v)
		case under == "":
			s.DetectZeroes = v
		}
		if v, _, ok := r.rest.take(at(under + "node-name")); ok && !wellFormed(v) {
			return fmt.Errorf("Invalid node-name: '%s'", v)
		}
	}
	return r.access(s, at)
}

// ErrDetectUnmap refuses zeroes without storage where nothing is to be given back.
var ErrDetectUnmap = errors.New("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")

// wellFormed reports whether a node may have that name: a letter, and behind it letters, digits,
// dashes, dots and underscores.
func wellFormed(name string) bool {
	for i, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')) {
			return false
		}
	}
	return name != ""
}

// access takes the options that say how the host's file is accessed. Their effect is not
// visible in what is read or written.
func (r *resolver) access(s *Source, at func(string) string) error {
	for _, under := range []string{"file.", ""} {
		if under == "" && (s.Protocol == "" || s.Spec.FileDriver != s.Protocol) {
			break
		}
		switch v, _, ok := r.rest.take(at(under + "aio")); {
		case !ok || v == "threads" || v == "io_uring":
		case v != "native":
			return fmt.Errorf("invalid parameter value: %s", v)
		case !s.Spec.Direct:
			return errors.New("aio=native was specified, but it requires cache.direct=on, which was not specified.")
		}
		if v, _, ok := r.rest.take(at(under + "pr-manager")); ok {
			return fmt.Errorf("No persistent reservation manager with id '%s'", v)
		}
		for _, name := range []string{"drop-cache", "x-check-cache-dropped"} {
			var unused bool
			if err := r.onOff(at(under+name), name, &unused); err != nil {
				return err
			}
		}
		const batch = "aio-max-batch"
		if v, _, ok := r.rest.take(at(under + batch)); ok {
			if _, err := strconv.ParseUint(v, 0, 64); err != nil {
				return fmt.Errorf("Parameter '%s' expects a number", batch)
			}
		}
	}
	return nil
}

// onOff takes a switch. Where it is not given, to stays as it is.
func (r *resolver) onOff(full, name string, to *bool) error {
	v, _, ok := r.rest.take(full)
	if !ok {
		return nil
	}
	on, ok := ParseSwitch(v)
	if !ok {
		return fmt.Errorf("Parameter '%s' expects 'on' or 'off'", name)
	}
	*to = on
	return nil
}
