package qmp

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
)

// SchemaInfo is an element of what query-qmp-schema returns (QEMU,
// qapi/introspect.json).
type SchemaInfo struct {
	Name        string         `json:"name"`
	MetaType    string         `json:"meta-type"`
	JSONType    string         `json:"json-type,omitempty"`    // builtin
	ArgType     string         `json:"arg-type,omitempty"`     // command, event
	RetType     string         `json:"ret-type,omitempty"`     // command
	AllowOOB    bool           `json:"allow-oob,omitempty"`    // command
	ElementType string         `json:"element-type,omitempty"` // array
	Members     []SchemaMember `json:"members,omitzero"`       // object, enum
	Values      []string       `json:"values,omitempty"`       // enum
}

// SchemaMember is a member of an object, or a value of an enumeration.
type SchemaMember struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"` // object
	// Default is there for a member that need not be given.
	Default *struct{} `json:"default,omitempty"`
}

// schema collects types. Objects have numbers for names, as QEMU's have: they are
// not part of the protocol.
type schema struct {
	list  []SchemaInfo
	names map[reflect.Type]string
}

// makeSchema describes commands and events.
func makeSchema(commands []Command, events map[string]reflect.Type) []SchemaInfo {
	s := &schema{names: map[reflect.Type]string{}}
	for _, c := range commands {
		s.list = append(s.list, SchemaInfo{
			Name: c.name, MetaType: "command", AllowOOB: c.oob,
			ArgType: s.name(c.args), RetType: s.name(c.ret),
		})
	}
	for name, data := range events {
		s.list = append(s.list, SchemaInfo{Name: name, MetaType: "event", ArgType: s.name(data)})
	}
	slices.SortFunc(s.list, func(a, b SchemaInfo) int {
		return cmp.Or(cmp.Compare(a.MetaType, b.MetaType), cmp.Compare(a.Name, b.Name))
	})
	return s.list
}

// name is the name of a type, which is described if it was not yet.
func (s *schema) name(t reflect.Type) string {
	if name, ok := s.names[t]; ok {
		return name
	}
	if e, ok := reflect.Zero(t).Interface().(Enum); ok {
		return s.enum(t, e.QMPValues())
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.name(t.Elem())
	case reflect.Bool:
		return s.builtin("bool", "boolean")
	case reflect.String:
		return s.builtin("str", "string")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return s.builtin("int", "int")
	case reflect.Float64, reflect.Float32:
		return s.builtin("number", "number")
	case reflect.Slice:
		element := s.name(t.Elem())
		name := "[" + element + "]"
		s.names[t] = name
		s.add(SchemaInfo{Name: name, MetaType: "array", ElementType: element})
		return name
	case reflect.Struct:
		name := strconv.Itoa(len(s.names))
		s.names[t] = name // before its members, which may have it inside
		info := SchemaInfo{Name: name, MetaType: "object", Members: []SchemaMember{}}
		for _, m := range members(t) {
			x := SchemaMember{Name: m.name, Type: s.name(m.typ)}
			if m.optional {
				x.Default = &struct{}{}
			}
			info.Members = append(info.Members, x)
		}
		s.add(info)
		return name
	}
	return s.builtin("any", "value")
}

// enum describes a type by its values.
func (s *schema) enum(t reflect.Type, values []string) string {
	name := strconv.Itoa(len(s.names))
	s.names[t] = name
	info := SchemaInfo{Name: name, MetaType: "enum", Values: values}
	for _, v := range values {
		info.Members = append(info.Members, SchemaMember{Name: v})
	}
	s.add(info)
	return name
}

func (s *schema) builtin(name, jsonType string) string {
	s.add(SchemaInfo{Name: name, MetaType: "builtin", JSONType: jsonType})
	return name
}

// add appends a description, once for each name.
func (s *schema) add(info SchemaInfo) {
	if !slices.ContainsFunc(s.list, func(x SchemaInfo) bool { return x.Name == info.Name }) {
		s.list = append(s.list, info)
	}
}
