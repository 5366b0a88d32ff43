package blockopt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Secrets are passphrases by their ids.
type Secrets map[string]string

// Add makes the object that --object describes. Only secrets are known:
// secret,id=ID with data=TEXT or file=NAME, and format=raw or base64.
func (s Secrets) Add(object string) error {
	list := Split(object)
	if len(list) == 0 {
		return errors.New("Parameter 'qom-type' is missing")
	}
	kind := list[0].Name
	if kind == "qom-type" {
		kind = list[0].Value
	}
	if err := checkType(kind); err != nil {
		return err
	}
	var id, data, file, format string
	for _, o := range list[1:] {
		switch o.Name {
		case "id":
			id = o.Value
		case "data":
			data = o.Value
		case "file":
			file = o.Value
		case "format":
			format = o.Value
		default:
			return fmt.Errorf("Parameter '%s' is unexpected", o.Name)
		}
	}
	switch {
	case id == "":
		return errors.New("Parameter 'id' is missing")
	case data != "" && file != "":
		return errors.New("'file' and 'data' are mutually exclusive")
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("Unable to read %s: Failed to open file “%s”: %s", file, file, sentence(err))
		}
		data = string(b)
	case data == "":
		return errors.New("Either 'file' or 'data' must be provided")
	}
	switch format {
	case "", "raw":
	case "base64":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return errors.New("Invalid base64 data")
		}
		data = string(b)
	default:
		return fmt.Errorf("Parameter 'format' does not accept value '%s'", format)
	}
	s[id] = data
	return nil
}

// Get returns a passphrase.
func (s Secrets) Get(id string) (string, error) {
	v, ok := s[id]
	if !ok {
		return "", fmt.Errorf("No secret with id '%s'", id)
	}
	return v, nil
}

// sentence is the text of an error of the system, as the C library has it.
func sentence(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	text := no.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
