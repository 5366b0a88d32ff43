package blockopt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Objects are what --object has made: passphrases and TLS credentials, by their ids.
type Objects struct {
	Secrets     Secrets
	Credentials map[string]*Credentials
	// Locked says that nothing is opened which is encrypted, so that ids of passphrases
	// need not be known.
	Locked bool
}

// NewObjects returns none.
func NewObjects() *Objects {
	return &Objects{Secrets: make(Secrets), Credentials: make(map[string]*Credentials)}
}

// Types of objects.
const (
	secretType      = "secret"
	credentialsType = "tls-creds-x509"
)

// Add makes the object that --object describes: a secret or TLS credentials. It is a list
// of properties whose first may be the type alone, or a JSON object.
func (o *Objects) Add(text string) error {
	p, err := parseProperties(text)
	if err != nil {
		return err
	}
	kind, known, err := p.text("qom-type")
	if err == nil && !known {
		err = errors.New("Parameter 'qom-type' is missing")
	}
	if err == nil {
		err = checkType(kind)
	}
	if err != nil {
		return err
	}
	id, known, err := p.text("id")
	switch {
	case err != nil:
		return err
	case !known:
		return errors.New("Parameter 'id' is missing")
	case kind == credentialsType:
		c, err := newCredentials(p, id)
		if err == nil {
			o.Credentials[id] = c
			delete(o.Secrets, id)
		}
		return err
	}
	secret, err := o.Secrets.decode(p, id)
	if err == nil {
		o.Secrets[id] = secret
		delete(o.Credentials, id)
	}
	return err
}

// properties are what is left to be taken of an object's description.
type properties struct {
	values map[string]any // string or, from JSON, what encoding/json makes of it
	keyval bool           // a list of name=value, in which switches are words
}

// parseProperties reads a description of an object.
func parseProperties(text string) (*properties, error) {
	if strings.HasPrefix(text, "{") {
		return parseObjectJSON(text)
	}
	p := &properties{make(map[string]any), true}
	for i, e := range elements(text) {
		name, value, ok := strings.Cut(e, "=")
		switch {
		case i == 0 && !ok && e != "":
			name, value = "qom-type", e
		case !propertyName(name):
			return nil, fmt.Errorf("Invalid parameter '%s'", name)
		case !ok:
			return nil, fmt.Errorf("Expected '=' after parameter '%s'", name)
		}
		name, _, nested := strings.Cut(name, ".")
		if _, seen := p.values[name].(map[string]any); seen != nested && p.values[name] != nil {
			return nil, fmt.Errorf("Parameters '%s.*' used inconsistently", name)
		}
		if p.values[name] = any(value); nested {
			p.values[name] = map[string]any{}
		}
	}
	return p, nil
}

// propertyName reports whether parts between dots are names, which begin with a letter.
func propertyName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !identifier(part) {
			return false
		}
	}
	return true
}

// parseObjectJSON reads a description of an object in JSON, whose strings may have single
// quotes.
func parseObjectJSON(text string) (*properties, error) {
	p := new(properties)
	d := json.NewDecoder(bytes.NewReader([]byte(doubleQuotes(text))))
	d.UseNumber()
	err := d.Decode(&p.values)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("JSON parse error, premature EOI")
	case err != nil:
		return nil, fmt.Errorf("JSON parse error, %w", err)
	case d.More():
		return nil, errors.New("Expecting at most one JSON value")
	}
	return p, nil
}

// text takes a property that is a string.
func (p *properties) text(name string) (value string, ok bool, err error) {
	v, ok := p.values[name]
	if !ok {
		return "", false, nil
	}
	delete(p.values, name)
	value, isText := v.(string)
	switch _, nested := v.(map[string]any); {
	case nested && p.keyval:
		return "", true, fmt.Errorf("Parameters '%s.*' are unexpected", name)
	case !isText:
		return "", true, fmt.Errorf("Invalid parameter type for '%s', expected: string", name)
	}
	return value, true, nil
}

// one takes a property that is one of a few words, the first of which is the default.
func (p *properties) one(name string, words ...string) (string, error) {
	value, ok, err := p.text(name)
	if err != nil || !ok {
		return words[0], err
	}
	if slices.Contains(words, value) {
		return value, nil
	}
	return "", fmt.Errorf("Parameter '%s' does not accept value '%s'", name, value)
}

// on takes a property that is a switch.
func (p *properties) on(name string, by bool) (bool, error) {
	v, ok := p.values[name]
	if !ok {
		return by, nil
	}
	delete(p.values, name)
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if !p.keyval {
			break
		}
		switch v {
		case "on", "yes", "true", "y":
			return true, nil
		case "off", "no", "false", "n":
			return false, nil
		}
		return by, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", name)
	}
	return by, fmt.Errorf("Invalid parameter type for '%s', expected: boolean", name)
}

// finish refuses properties that nobody has taken, and an id that can't be one.
func (p *properties) finish(id string) error {
	for name := range p.values {
		return fmt.Errorf("Parameter '%s' is unexpected", name)
	}
	if !identifier(id) {
		return errors.New("Parameter 'id' expects an identifier\n" +
			"Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")
	}
	return nil
}

// identifier reports whether s may be an id.
func identifier(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9') && !strings.ContainsRune("-._", rune(c))) {
			return false
		}
	}
	return s != ""
}

// machineObjects are the types of objects that QEMU has for machines, and not for its
// tools.
var machineObjects = []string{
	"can-bus", "can-host-socketcan", "colo-compare", "cryptodev-backend", "cryptodev-backend-builtin",
	"cryptodev-vhost-user", "dbus-vmstate", "filter-buffer", "filter-dump", "filter-mirror",
	"filter-redirector", "filter-replay", "filter-rewriter", "input-barrier", "input-linux",
	"iothread", "memory-backend-epc", "memory-backend-file", "memory-backend-memfd", "memory-backend-ram",
	"pef-guest", "qtest", "rng-builtin", "rng-egd", "rng-random", "s390-pv-guest", "sev-guest",
	"x-remote-object", "x-vfio-user-server",
}

// toolObjects are those that its tools have, and these do not.
var toolObjects = []string{
	"authz-list", "authz-list-file", "authz-pam", "authz-simple", "main-loop", "pr-manager-helper",
	"secret_keyring", "thread-context", "throttle-group", "tls-cipher-suites", "tls-creds-anon",
	"tls-creds-psk",
}

// checkType refuses a type of object that is neither a secret nor TLS credentials.
func checkType(kind string) error {
	switch {
	case kind == secretType, kind == credentialsType:
		return nil
	case slices.Contains(machineObjects, kind):
		return fmt.Errorf("invalid object type: %s", kind)
	case slices.Contains(toolObjects, kind):
		return fmt.Errorf("objects of type %s are not supported (%s and %s are)", kind, secretType, credentialsType)
	}
	return fmt.Errorf("Parameter 'qom-type' does not accept value '%s'", kind)
}
