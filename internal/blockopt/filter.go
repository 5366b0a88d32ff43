package blockopt

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
)

// isFormat reports whether a driver makes a disk of what is in a file, or stands over
// such a disk.
func isFormat(driver string) bool {
	switch driver {
	case block.FormatQCOW2, block.FormatRaw, block.FormatLUKS, "compress":
		return true
	}
	return false
}

// filter takes the options of a device that stands over another, whose options are
// those under below.
func (r *resolver) filter(branch, driver, below string) (*Source, error) {
	at := func(name string) string { return join(branch, name) }
	s, err := r.disk(at(below))
	if err != nil {
		return nil, err
	}
	if s.Spec.Format == "" {
		return nil, fmt.Errorf("the format of what is under '%s' must be specified", driver)
	}
	if s.Inject {
		s.Spec.Debug, s.Inject = blkdebug.New(s.Rules, nil), false
	}
	full := map[string]any{"driver": driver, below: s.options()}
	f := &block.Filter{Over: block.Compressed, Below: s.Spec.Filter}
	if driver == "blkdebug" {
		rules, unit, err := r.rules(at, full)
		if err != nil {
			return nil, err
		}
		// Each time it is opened the rules begin anew.
		f.Over = func(d block.Device) (block.Device, error) {
			return block.Debugged(d, blkdebug.New(rules, nil), unit), nil
		}
	}
	s.Spec.Filter, s.Protocol, s.Name, s.Full = f, driver, "", full
	if err := r.generic(s, at); err != nil {
		return nil, err
	}
	for _, name := range r.rest.Names() {
		if branch == "" || strings.HasPrefix(name, branch+".") {
			return nil, unknown(s, driver, strings.TrimPrefix(strings.TrimPrefix(name, branch), "."))
		}
	}
	return s, nil
}

// options are what makes up a disk, as JSON has it.
func (s *Source) options() map[string]any {
	if s.Full != nil {
		return s.Full
	}
	return map[string]any{"driver": s.Driver(), "file": map[string]any{"driver": "file", "filename": s.Spec.Path}}
}

// rules takes the faults and limits of a blkdebug that stands over a disk. They go into
// full. unit is that of writes of zeroes, in bytes; 0: any.
func (r *resolver) rules(at func(string) string, full map[string]any) (rules []blkdebug.Rule, unit int64, err error) {
	prefix := strings.TrimSuffix(at("x"), "x")
	before := r.rest.Clone()
	if _, unit, err = r.limits(at); err != nil {
		return nil, 0, err
	}
	rules, err = blkdebug.TakeOptions(r.rest.text, prefix)
	maps.DeleteFunc(r.rest.spelled, func(name, _ string) bool { return !r.rest.Has(name) })
	for name := range before.text {
		if own, ok := strings.CutPrefix(name, prefix); ok && !r.rest.Has(name) {
			_, full[own], _ = before.take(name)
		}
	}
	return rules, unit, err
}

// limits takes how blkdebug cuts requests for what lies under it, and returns the unit
// that they have to be made of, and that of zeroes, in bytes. The others change nothing
// here that is to be seen.
func (r *resolver) limits(at func(string) string) (align, zeroes int64, err error) {
	take := func(name string, multiple, least, most int64) int64 {
		v, _, ok := r.rest.take(at(name))
		if !ok || err != nil {
			return 0
		}
		var n int64
		if n, err = size(name, v); err == nil && n != 0 && (n < least || n >= most || n%max(multiple, 1) != 0) {
			err = fmt.Errorf("Cannot meet constraints with %s %d", name, n)
		}
		return n
	}
	if align = take("align", 1, 1, math.MaxInt32); err == nil && align&(align-1) != 0 {
		err = fmt.Errorf("Cannot meet constraints with align %d", align)
	}
	take("max-transfer", align, align, math.MaxInt32)
	for _, name := range []string{"write-zero", "discard"} {
		best := take("opt-"+name, align, 1, math.MaxInt32)
		if name == "write-zero" {
			zeroes = best
		}
		take("max-"+name, max(best, align), 1, math.MaxInt32)
	}
	return align, zeroes, err
}
