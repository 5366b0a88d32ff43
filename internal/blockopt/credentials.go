package blockopt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Credentials are those of TLS, in files of the names that QEMU and libnbd know.
type Credentials struct {
	Dir    string // where the files are
	Server bool   // which end of a connection they are for
	Verify bool   // whether the other end has to have a certificate of the same authority
}

// newCredentials takes the properties of credentials: dir, endpoint=server or client, and
// verify-peer.
func newCredentials(p *properties, id string) (*Credentials, error) {
	c := new(Credentials)
	var errs [6]error
	c.Dir, _, errs[0] = p.text("dir")
	endpoint, err := p.one("endpoint", "client", "server")
	c.Server, errs[1] = endpoint == "server", err
	c.Verify, errs[2] = p.on("verify-peer", true)
	_, errs[3] = p.on("sanity-check", true) // of the certificates: they are looked at when they are used
	for _, name := range []string{"priority", "passwordid"} {
		if _, ok := p.values[name]; ok {
			errs[4] = fmt.Errorf("Parameter '%s' of %s is not supported", name, credentialsType)
		}
	}
	errs[5] = p.finish(id)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if c.Dir == "" {
		return nil, errors.New("Missing 'dir' property value")
	}
	return c, c.check()
}

// check finds out whether the files are there that credentials need. A client may do
// without a certificate of its own.
func (c *Credentials) check() error {
	files := []string{"ca-cert.pem"}
	if c.Server {
		files = append(files, "server-cert.pem", "server-key.pem")
	}
	for _, name := range files {
		path := filepath.Join(c.Dir, name)
		var no syscall.Errno
		if _, err := os.Stat(path); errors.As(err, &no) {
			return fmt.Errorf("Unable to access credentials %s: %s", path, sentence(no))
		}
	}
	return nil
}

// TLS finds the credentials with an id, for one end of a connection.
func (o *Objects) TLS(id string, server bool) (*Credentials, error) {
	c := o.credentials[id]
	switch {
	case c == nil && o.free(id) != nil:
		return nil, fmt.Errorf("Object with id '%s' is not TLS credentials", id)
	case c == nil:
		return nil, fmt.Errorf("No TLS credentials with id '%s'", id)
	case c.Server != server && server:
		return nil, errors.New("Expected TLS credentials for a server endpoint")
	case c.Server != server:
		return nil, errors.New("Expected TLS credentials for a client endpoint")
	}
	return c, nil
}
