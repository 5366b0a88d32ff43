package imgtool

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// dict is an object whose keys come out in the order of qemu-img: that of the
// buckets of its hash table.
type dict map[string]any

// keys in the order in which they are printed.
func (d dict) keys() []string {
	list := make([]string, 0, len(d))
	for k := range d {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(bucket(a), bucket(b)), cmp.Compare(a, b))
	})
	return list
}

// bucket of a key, by the hash of tdb, of 512.
func bucket(key string) uint32 {
	v := 0x238f13af * uint32(len(key))
	for i := range len(key) {
		v += uint32(key[i]) << (uint(i) * 5 % 24)
	}
	return (1103515243*v + 12345) % 512
}

// marshal prints a value as qemu-img prints JSON: indented by four spaces.
func marshal(v any) string {
	var b strings.Builder
	writeJSON(&b, v, 0)
	return b.String()
}

func writeJSON(b *strings.Builder, v any, depth int) {
	indent := strings.Repeat("    ", depth)
	switch v := v.(type) {
	case dict:
		b.WriteString("{\n")
		for i, k := range v.keys() {
			if i > 0 {
				b.WriteString(",\n")
			}
			fmt.Fprintf(b, "%s    %s: ", indent, quote(k))
			writeJSON(b, v[k], depth+1)
		}
		fmt.Fprintf(b, "\n%s}", indent)
	case []any:
		b.WriteString("[\n")
		for i, e := range v {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteString(indent + "    ")
			writeJSON(b, e, depth+1)
		}
		if len(v) > 0 {
			b.WriteString("\n")
		}
		b.WriteString(indent + "]")
	case string:
		b.WriteString(quote(v))
	default:
		fmt.Fprint(b, v)
	}
}

// compact prints a value on one line, as in the name of an image.
func compact(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var list []string
		for _, k := range dict(v).keys() {
			list = append(list, quote(k)+": "+compact(v[k]))
		}
		return "{" + strings.Join(list, ", ") + "}"
	case string:
		return quote(v)
	case json.RawMessage:
		return string(v)
	}
	return fmt.Sprint(v)
}

// quote is a string in JSON, without the escapes that only HTML needs.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// tree prints the human form of a value, below "Format specific information:".
func tree(b *strings.Builder, v any, depth int) {
	indent := strings.Repeat("    ", depth)
	label := strings.NewReplacer("-", " ", "_", " ")
	child := func(name string, v any) {
		switch v.(type) {
		case dict, []any:
			fmt.Fprintf(b, "%s%s:\n", indent, name)
			tree(b, v, depth+1)
		default:
			fmt.Fprintf(b, "%s%s: %v\n", indent, name, v)
		}
	}
	switch v := v.(type) {
	case dict:
		for _, k := range v.keys() {
			child(label.Replace(k), v[k])
		}
	case []any:
		for i, e := range v {
			child(fmt.Sprintf("[%d]", i), e)
		}
	}
}
