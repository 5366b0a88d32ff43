package qmp

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decode fills in arguments, and says what is wrong with them in QEMU's words. args
// points to a structure. Unlike package encoding/json it tells names apart that differ
// in case, and takes null for no value.
func decode(given map[string]any, args any) error {
	return decodeObject("", given, reflect.ValueOf(args).Elem())
}

func decodeObject(prefix string, given map[string]any, into reflect.Value) error {
	known := members(into.Type())
	for _, m := range known {
		value, ok := given[m.name]
		switch {
		case ok:
			if err := decodeValue(prefix+m.name, value, into.FieldByIndex(m.index)); err != nil {
				return err
			}
		case !m.optional:
			return Errorf(GenericError, "Parameter '%s' is missing", prefix+m.name)
		}
	}
	var unknown []string
	for name := range given {
		if !slices.ContainsFunc(known, func(m member) bool { return m.name == name }) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return Errorf(GenericError, "Parameter '%s' is unexpected", prefix+slices.Min(unknown))
	}
	return nil
}

func decodeValue(name string, value any, into reflect.Value) error {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	switch value := value.(type) {
	case string:
		if into.Kind() != reflect.String {
			break
		}
		into.SetString(value)
		if e, ok := into.Interface().(Enum); ok && !slices.Contains(e.QMPValues(), value) {
			return Errorf(GenericError, "Parameter '%s' does not accept value '%s'", name[strings.LastIndexByte(name, '.')+1:], value)
		}
		return nil
	case bool:
		if into.Kind() != reflect.Bool {
			break
		}
		into.SetBool(value)
		return nil
	case json.Number:
		if n, err := strconv.ParseInt(value.String(), 10, 64); err == nil && into.CanInt() && !into.OverflowInt(n) {
			into.SetInt(n)
			return nil
		}
	case map[string]any:
		if into.Kind() == reflect.Struct {
			return decodeObject(name+".", value, into)
		}
	case []any:
		if into.Kind() != reflect.Slice {
			break
		}
		into.Set(reflect.MakeSlice(into.Type(), len(value), len(value)))
		for i, v := range value {
			if err := decodeValue(fmt.Sprintf("%s[%d]", name, i), v, into.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return Errorf(GenericError, "Invalid parameter type for '%s', expected: %s", name, typeWord(into.Type()))
}

// typeWord is QEMU's word for a type.
func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Struct:
		return "object"
	case reflect.Slice:
		return "array"
	}
	return "integer"
}
