package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Classes of errors (QEMU, qapi/error.json). All but GenericError mean that a
// client can tell what to do.
const (
	GenericError    = "GenericError"
	CommandNotFound = "CommandNotFound"
	DeviceNotActive = "DeviceNotActive"
	DeviceNotFound  = "DeviceNotFound"
)

// Error is a failure that a client is told of.
type Error struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return e.Desc }

// Errorf makes an Error.
func Errorf(class, format string, args ...any) *Error {
	return &Error{class, fmt.Sprintf(format, args...)}
}

// asError makes an Error of any error.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{e.Class, err.Error()}
	}
	return &Error{GenericError, err.Error()}
}

// None is what a command takes or returns that takes or returns nothing.
type None struct{}

// Command is what clients can have carried out.
type Command struct {
	name      string
	oob       bool
	args, ret reflect.Type
	run       func(ctx context.Context, args json.RawMessage) (any, error)
}

// NewCommand makes a command of a function. A is a structure whose fields, by their
// JSON names, are the arguments; those with omitempty need not be given. What the
// function returns becomes JSON. It is called by several goroutines at once; ctx ends
// when the server does.
func NewCommand[A, R any](name string, f func(ctx context.Context, args A) (R, error)) Command {
	return Command{
		name: name,
		args: reflect.TypeFor[A](),
		ret:  reflect.TypeFor[R](),
		run: func(ctx context.Context, raw json.RawMessage) (any, error) {
			var args A
			if err := decode(raw, &args); err != nil {
				return nil, err
			}
			return f(ctx, args)
		},
	}
}

// OOB returns the command as one that may be called out of band: it never waits.
func (c Command) OOB() Command {
	c.oob = true
	return c
}

// Name is the command's name.
func (c Command) Name() string { return c.name }

// decode fills in arguments, and says what is wrong with them in QEMU's words.
func decode(raw json.RawMessage, args any) error {
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	given := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &given); err != nil || given == nil {
		return Errorf(GenericError, "QMP input member 'arguments' must be an object")
	}
	for _, f := range members(reflect.TypeOf(args).Elem()) {
		if _, ok := given[f.name]; !ok && !f.optional {
			return Errorf(GenericError, "Parameter '%s' is missing", f.name)
		}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(args)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return Errorf(GenericError, "Invalid parameter type for '%s', expected: %s", wrong.Field, typeWord(wrong.Type))
	}
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return Errorf(GenericError, "Parameter '%s' is unexpected", strings.Trim(name, `"`))
	}
	return Errorf(GenericError, "Invalid arguments: %v", err)
}

// typeWord is QEMU's word for a type.
func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice, reflect.Array:
		return "array"
	}
	return "integer"
}

// member is a field of a structure as JSON has it.
type member struct {
	name     string
	typ      reflect.Type
	optional bool
}

// members lists the fields of a structure, those of embedded ones among them.
func members(t reflect.Type) []member {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var list []member
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			list = append(list, members(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		list = append(list, member{name, f.Type, strings.Contains(options, "omit")})
	}
	return list
}
