package blockopt

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Objects are what --object has made, by their ids: passphrases, TLS credentials, and what
// says who may connect.
type Objects struct {
	Secrets     Secrets
	credentials map[string]*Credentials
	authz       map[string]*Authorization
	// Warn, if set, prints what there is to say against options that are taken.
	Warn func(text string)
	// Locked says that nothing is opened which is encrypted, so that ids of passphrases
	// need not be known.
	Locked bool
	// LeaveBacking says that no backing file is opened, so that options about it are refused.
	LeaveBacking bool
}

// NewObjects returns none.
func NewObjects() *Objects {
	return &Objects{Secrets: make(Secrets), credentials: make(map[string]*Credentials), authz: make(map[string]*Authorization)}
}

// Types of objects.
const (
	secretType      = "secret"
	credentialsType = "tls-creds-x509"
	simpleAuthzType = "authz-simple"
	listAuthzType   = "authz-list"
)

// Add makes the object that --object describes. That is a list of properties whose first may
// be the type alone, or a JSON object.
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
	if err == nil && !known {
		err = errors.New("Parameter 'id' is missing")
	}
	if err != nil {
		return err
	}
	switch kind {
	case credentialsType:
		c, err := newCredentials(p, id)
		if err = cmp.Or(err, o.free(id)); err != nil {
			return err
		}
		o.credentials[id] = c
	case simpleAuthzType, listAuthzType:
		a, err := newAuthorization(p, kind, id)
		if err = cmp.Or(err, o.free(id)); err != nil {
			return err
		}
		o.authz[id] = a
	default:
		secret, err := o.Secrets.decode(p, id)
		if err = cmp.Or(err, o.free(id)); err != nil {
			return err
		}
		o.Secrets[id] = secret
	}
	return nil
}

// free refuses an id that another object has.
func (o *Objects) free(id string) error {
	_, secret := o.Secrets[id]
	if secret || o.credentials[id] != nil || o.authz[id] != nil {
		return fmt.Errorf("attempt to add duplicate property '%s' to object (type 'container')", id)
	}
	return nil
}

// properties are what is left to be taken of an object's description.
type properties struct {
	values map[string]any // string, a map of such, or, from JSON, what encoding/json makes of it
	keyval bool           // a list of name=value, in which switches are words
	path   string         // of the object that they are in, with a dot behind it; "" at the top
}

// parseProperties reads a description of an object.
func parseProperties(text string) (*properties, error) {
	if strings.HasPrefix(text, "{") {
		return parseObjectJSON(text)
	}
	p := &properties{values: make(map[string]any), keyval: true}
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
		if err := put(p.values, "", name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// put sets a value in a tree, at the place that a name with dots says.
func put(tree map[string]any, path, name, value string) error {
	name, rest, nested := strings.Cut(name, ".")
	inner, isTree := tree[name].(map[string]any)
	switch {
	case tree[name] != nil && isTree != nested:
		return fmt.Errorf("Parameters '%s%s.*' used inconsistently", path, name)
	case !nested:
		tree[name] = value
		return nil
	case inner == nil:
		inner = make(map[string]any)
		tree[name] = inner
	}
	return put(inner, path+name+".", rest, value)
}

// propertyName reports whether parts between dots are names, which begin with a letter, or
// numbers behind the first.
func propertyName(s string) bool {
	for i, part := range strings.Split(s, ".") {
		number := i > 0 && part != "" && strings.Trim(part, "0123456789") == ""
		if !number && !identifier(part) {
			return false
		}
	}
	return true
}

// parseObjectJSON reads a description of an object in JSON, whose strings may have single
// quotes.
func parseObjectJSON(text string) (*properties, error) {
	v, err := decodeJSON(text)
	if err != nil {
		return nil, err
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("Invalid JSON object given")
	}
	return &properties{values: members}, nil
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
		if on, ok := ParseSwitch(v); ok {
			return on, nil
		}
		return by, fmt.Errorf("Parameter '%s' expects 'on' or 'off'", name)
	}
	return by, fmt.Errorf("Invalid parameter type for '%s', expected: boolean", name)
}

// list takes a property that is a list of objects.
func (p *properties) list(name string) (list []*properties, err error) {
	v, ok := p.values[name]
	if !ok {
		return nil, nil
	}
	delete(p.values, name)
	elements, isList := v.([]any)
	pattern := "%s%s[%d]"
	if tree, ok := v.(map[string]any); ok && p.keyval {
		isList, pattern = true, "%s%s.%d"
		for i := range len(tree) {
			e, ok := tree[strconv.Itoa(i)]
			if !ok {
				return nil, fmt.Errorf("Parameter '%s%s.%d' missing", p.path, name, i)
			}
			elements = append(elements, e)
		}
	}
	if !isList {
		return nil, fmt.Errorf("Invalid parameter type for '%s', expected: array", name)
	}
	for i, e := range elements {
		path := fmt.Sprintf(pattern, p.path, name, i)
		values, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("Invalid parameter type for '%s', expected: object", path)
		}
		list = append(list, &properties{values, p.keyval, path + "."})
	}
	return list, nil
}

// taken refuses properties that nobody has taken.
func (p *properties) taken() error {
	for name := range p.values {
		return fmt.Errorf("Parameter '%s%s' is unexpected", p.path, name)
	}
	return nil
}

// finish refuses properties that nobody has taken, and an id that can't be one.
func (p *properties) finish(id string) error {
	if err := p.taken(); err != nil {
		return err
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
	"authz-listfile", "authz-pam", "main-loop", "pr-manager-helper",
	"secret_keyring", "thread-context", "throttle-group", "tls-cipher-suites", "tls-creds-anon",
	"tls-creds-psk",
}

// checkType refuses a type of object that can't be made.
func checkType(kind string) error {
	switch {
	case kind == secretType, kind == credentialsType, kind == simpleAuthzType, kind == listAuthzType:
		return nil
	case slices.Contains(machineObjects, kind):
		return fmt.Errorf("invalid object type: %s", kind)
	case slices.Contains(toolObjects, kind):
		return fmt.Errorf("objects of type %s are not supported (%s, %s, %s and %s are)", kind, secretType, credentialsType, simpleAuthzType, listAuthzType)
	}
	return fmt.Errorf("Parameter 'qom-type' does not accept value '%s'", kind)
}
