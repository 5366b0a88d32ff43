package imgtool

import (
	"encoding/base64"
	"fmt"
	"os"
)

// addObject makes the object that --object describes. Only secrets are known.
func (t *Tool) addObject(text string) error {
	list := parseList(text)
	if len(list) == 0 {
		return fmt.Errorf("Parameter 'qom-type' is missing")
	}
	kind := list[0].name
	if kind == "qom-type" {
		kind = list[0].value
	}
	if kind != "secret" {
		return fmt.Errorf("Parameter 'qom-type' does not accept value '%s'", kind)
	}
	var id, data, file, format string
	for _, o := range list[1:] {
		switch o.name {
		case "id":
			id = o.value
		case "data":
			data = o.value
		case "file":
			file = o.value
		case "format":
			format = o.value
		default:
			return fmt.Errorf("Parameter '%s' is unexpected", o.name)
		}
	}
	switch {
	case id == "":
		return fmt.Errorf("Parameter 'id' is missing")
	case data != "" && file != "":
		return fmt.Errorf("'file' and 'data' are mutually exclusive")
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("Unable to read %s: Failed to open file “%s”: %s", file, file, reason(err))
		}
		data = string(b)
	case data == "":
		return fmt.Errorf("Either 'file' or 'data' must be provided")
	}
	switch format {
	case "", "raw":
	case "base64":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return fmt.Errorf("Invalid base64 data")
		}
		data = string(b)
	default:
		return fmt.Errorf("Parameter 'format' does not accept value '%s'", format)
	}
	if t.secrets == nil {
		t.secrets = make(map[string]string)
	}
	t.secrets[id] = data
	return nil
}
