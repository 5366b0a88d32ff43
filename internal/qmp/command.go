package qmp

import (
	"context"
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
	run       func(ctx context.Context, args map[string]any) (any, error)
}

// Enum is a type of strings that has few values. The server refuses others in
// arguments, and its schema lists them.
type Enum interface{ QMPValues() []string }

// NewCommand makes a command of a function. A is a structure whose fields, by their
// JSON names, are the arguments; those with omitempty need not be given. They are
// strings, Enums, booleans, integers, structures, or pointers to these. What the
// function returns becomes JSON. It is called by several goroutines at once; ctx ends
// when the server does.
func NewCommand[A, R any](name string, f func(ctx context.Context, args A) (R, error)) Command {
	return Command{
		name: name,
		args: reflect.TypeFor[A](),
		ret:  reflect.TypeFor[R](),
		run: func(ctx context.Context, given map[string]any) (any, error) {
			var args A
			if err := decode(given, &args); err != nil {
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

// member is a field of a structure as JSON has it.
type member struct {
	name     string
	typ      reflect.Type
	optional bool
	index    []int // of the field
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
			for _, m := range members(f.Type) {
				m.index = append([]int{i}, m.index...)
				list = append(list, m)
			}
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		list = append(list, member{name, f.Type, strings.Contains(options, "omit"), []int{i}})
	}
	return list
}
