package blockopt

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/qcow2"
)

// overlapChecks are the values of overlap-check. The engine always checks all.
var overlapChecks = []string{"none", "constant", "cached", "all"}

// overlapAreas are what overlap-check.AREA switches.
var overlapAreas = []string{
	"main-header", "active-l1", "active-l2", "refcount-table", "refcount-block", "snapshot-table", "inactive-l1", "inactive-l2", "bitmap-directory",
}

// passDiscards are the options that say when storage goes back to the host.
var passDiscards = map[string]qcow2.PassDiscard{
	"pass-discard-request": qcow2.PassRequest, "pass-discard-snapshot": qcow2.PassSnapshot, "pass-discard-other": qcow2.PassOther,
}

// runtime takes the options of qcow2 images that may change while one is open.
func (r *resolver) runtime(s *Source, at func(string) string) error {
	var unused bool
	if r.rest.Has(at("lazy-refcounts")) {
		lazy := false
		if err := r.onOff(at("lazy-refcounts"), "lazy-refcounts", &lazy); err != nil {
			return err
		}
		s.Spec.LazyRefcounts = &lazy
	}
	for name, class := range passDiscards {
		if r.rest.Has(at(name)) {
			var on bool
			if err := r.onOff(at(name), name, &on); err != nil {
				return err
			}
			s.Spec.PassDiscard = s.Spec.PassDiscard.With(class, on)
		}
	}
	if a, b := r.rest.Get(at("overlap-check")), r.rest.Get(at("overlap-check.template")); a != "" && b != "" && a != b {
		return fmt.Errorf("Conflicting values for qcow2 options 'overlap-check' ('%s') and 'overlap-check.template' ('%s')", a, b)
	}
	for _, name := range []string{"overlap-check", "overlap-check.template"} {
		if v, _, ok := r.rest.take(at(name)); ok && !slices.Contains(overlapChecks, v) {
			return fmt.Errorf("Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the following: %s", v, strings.Join(overlapChecks, ", "))
		}
	}
	for _, area := range overlapAreas {
		name := "overlap-check." + area
		if err := r.onOff(at(name), name, &unused); err != nil {
			return err
		}
	}
	s.Spec.EncryptFormat, _ = r.rest.takeText(at("encrypt.format"))
	if v, _, ok := r.rest.take(at("cache-clean-interval")); ok {
		if n, err := strconv.ParseUint(v, 0, 64); errors.Is(err, strconv.ErrRange) || n > math.MaxUint32 || negative(v) {
			return errors.New("Cache clean interval too big")
		} else if err != nil {
			return errors.New("Parameter 'cache-clean-interval' expects a number")
		}
	}
	return r.caches(s, at)
}

// negative reports whether a number is below zero.
func negative(v string) bool {
	n, err := strconv.ParseInt(v, 0, 64)
	return err == nil && n < 0
}

// caches takes the sizes of caches, of which the engine has one, for L2 tables.
func (r *resolver) caches(s *Source, at func(string) string) error {
	const whole, l2, refcounts, entry = "cache-size", "l2-cache-size", "refcount-cache-size", "l2-cache-entry-size"
	given := make(map[string]int64)
	for _, name := range []string{whole, l2, refcounts, entry} {
		v, _, ok := r.rest.take(at(name))
		if !ok {
			continue
		}
		n, err := r.size(name, v)
		if err != nil {
			return err
		}
		given[name] = n
	}
	all, hasAll := given[whole]
	tables, hasTables := given[l2]
	counts, hasCounts := given[refcounts]
	switch {
	case hasAll && hasTables && hasCounts:
		return fmt.Errorf("%s, %s and %s may not be set at the same time", whole, l2, refcounts)
	case hasAll && tables > all:
		return fmt.Errorf("%s may not exceed %s", l2, whole)
	case hasAll && counts > all:
		return fmt.Errorf("%s may not exceed %s", refcounts, whole)
	case hasAll && !hasTables:
		tables, hasTables = all-counts, true
	}
	if hasTables {
		s.Spec.L2CacheSize = tables
	}
	s.Spec.RefcountCacheSize = counts
	if n, ok := given[entry]; ok {
		s.Spec.L2EntrySize = max(n, 1) // 0 is no size
	}
	return nil
}

// TakeRuntime takes the options out of the tree that may change while a disk is open,
// and changes s as they say.
func (t *Tree) TakeRuntime(s *Source) error {
	r := &resolver{rest: t}
	at := func(name string) string { return name }
	if err := r.generic(s, at); err != nil {
		return err
	}
	switch {
	case s.Protocol != "":
	case s.Spec.Format == block.FormatRaw:
		return r.window(s, at, make(map[string]any))
	case s.Spec.Format == block.FormatQCOW2:
		return r.runtime(s, at)
	}
	return nil
}
