package nbdtool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbd"
)

// certificates are TLS credentials that --object describes.
type certificates struct {
	dir    string
	server bool
	verify bool
}

const credsType = "tls-creds-x509"

// object takes what --object describes: TLS credentials, or else a secret.
func (s *settings) object(text string) error {
	list := blockopt.Split(text)
	if len(list) == 0 || list[0].Name != credsType && (list[0].Name != "qom-type" || list[0].Value != credsType) {
		return s.secrets.Add(text)
	}
	c, id := &certificates{verify: true}, ""
	for _, o := range list[1:] {
		switch o.Name {
		case "id":
			id = o.Value
		case "dir":
			c.dir = o.Value
		case "endpoint":
			if c.server = o.Value == "server"; !c.server && o.Value != "client" {
				return fmt.Errorf("Parameter 'endpoint' does not accept value '%s'", o.Value)
			}
		case "verify-peer":
			if c.verify = o.Value == "on" || o.Value == "yes"; !c.verify && o.Value != "off" && o.Value != "no" {
				return errors.New("Parameter 'verify-peer' expects 'on' or 'off'")
			}
		case "sanity-check": // of the certificates: they are looked at when they are used
		case "priority", "passwordid":
			return fmt.Errorf("Parameter '%s' of %s is not supported", o.Name, credsType)
		default:
			return fmt.Errorf("Parameter '%s' is unexpected", o.Name)
		}
	}
	switch {
	case id == "":
		return errors.New("Parameter 'id' is missing")
	case c.dir == "":
		return errors.New("Missing 'dir' property value")
	}
	s.certificates[id] = c
	return c.check()
}

// check finds out whether the files are there that credentials need.
func (c *certificates) check() error {
	files := []string{"ca-cert.pem"}
	if c.server {
		files = append(files, "server-cert.pem", "server-key.pem")
	}
	for _, name := range files {
		path := filepath.Join(c.dir, name)
		var no syscall.Errno
		if _, err := os.Stat(path); errors.As(err, &no) {
			return fmt.Errorf("Unable to access credentials %s: %s", path, capital(no.Error()))
		}
	}
	return nil
}

// tls is how clients are to be spoken to; nil: in clear.
func (s *settings) tls() (*tls.Config, error) {
	if s.tlsCreds == "" {
		return nil, nil
	}
	c := s.certificates[s.tlsCreds]
	_, secret := s.secrets[s.tlsCreds]
	switch {
	case secret:
		return nil, fmt.Errorf("Failed to get TLS creds: Object with id '%s' is not TLS credentials", s.tlsCreds)
	case c == nil:
		return nil, fmt.Errorf("Failed to get TLS creds: No TLS credentials with id '%s'", s.tlsCreds)
	case !c.server:
		return nil, errors.New("Failed to get TLS creds: Expecting TLS credentials with a server endpoint")
	}
	return nbd.LoadTLS(c.dir, c.verify)
}

// capital is a text with a large first letter, as the C library has it.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
