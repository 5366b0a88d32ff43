// Package fieldtest has tests fail when a structure gets a field that nobody has
// decided about: whether saved state has it, or why not.
package fieldtest

import (
	"reflect"
	"strings"
	"testing"
)

// Decided reports the fields of v, a structure or a pointer to one, that
// decisions does not name, and the names there that are no fields. A decision is
// a word or two; several fields with the same one may share a name, separated by
// spaces. An embedded structure is a field.
func Decided(t testing.TB, v any, decisions map[string]string) {
	t.Helper()
	typ := reflect.TypeOf(v)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	open := map[string]bool{}
	for i := range typ.NumField() {
		if name := typ.Field(i).Name; name != "_" {
			open[name] = true
		}
	}
	for names, decision := range decisions {
		for name := range strings.FieldsSeq(names) {
			switch {
			case !open[name]:
				t.Errorf("%v has no field %s, or it is named twice", typ, name)
			case decision == "":
				t.Errorf("%v.%s: the decision is empty", typ, name)
			}
			delete(open, name)
		}
	}
	for name := range open {
		t.Errorf("%v.%s: nobody has decided if saved state has it", typ, name)
	}
}
