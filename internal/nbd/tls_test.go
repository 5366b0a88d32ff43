package nbd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
	"github.com/govmm/govmm/internal/tlstest"
)

// upgrade starts TLS on a connection.
func (c *client) upgrade(config *tls.Config) error {
	c.t.Helper()
	c.accepted(c.option(nbdproto.OptStartTLS, nil))
	t := tls.Client(c.nc, config)
	c.nc = t
	return t.Handshake()
}

func TestTLS(t *testing.T) {
	dir := tlstest.Credentials(t)
	config, err := LoadTLS(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := start(t, &Server{Exports: exports(newRAM(4 << 20)), TLS: config})
	roots := x509.NewCertPool()
	ca, _ := os.ReadFile(filepath.Join(dir, "ca-cert.pem"))
	roots.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client-cert.pem"), filepath.Join(dir, "client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}

	c := dial(t, path)
	if r := c.option(nbdproto.OptList, nil); r[0].kind != nbdproto.RepErrTLSReqd {
		t.Errorf("LIST in the clear: %#x", r[0].kind)
	}
	if err := c.upgrade(&tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}); err != nil {
		t.Fatal(err)
	}
	if r := c.option(nbdproto.OptStartTLS, nil); r[0].kind != nbdproto.RepErrInvalid {
		t.Errorf("STARTTLS again: %#x", r[0].kind)
	}
	c.choose("a", true)
	data := bytes.Repeat([]byte("secret"), 500_000)
	c.request(nbdproto.CmdWrite, 0, 1, 100, uint32(len(data)))
	c.put(data)
	if code := c.simple(1); code != 0 {
		t.Fatal(code)
	}
	if !bytes.Equal(c.read(100, len(data)), data) {
		t.Error("other data read than written")
	}

	c = dial(t, path)
	err = c.upgrade(&tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err == nil { // under TLS 1.3 the refusal comes with the first read
		_, err = c.nc.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a client without a certificate was admitted")
	}

	c = dial(t, path)
	c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptStartTLS), uint32(0), uint64(nbdproto.MagicOption))
	c.closed()

	c = dial(t, path)
	c.put(uint64(nbdproto.MagicOption), uint32(nbdproto.OptExportName), uint32(1), "a")
	c.closed()
}

func TestLoadTLSErrors(t *testing.T) {
	dir := tlstest.Credentials(t)
	if _, err := LoadTLS(t.TempDir(), false); err == nil || !strings.Contains(err.Error(), "server-cert.pem") {
		t.Errorf("an empty directory: %v", err)
	}
	keys := t.TempDir()
	if err := os.WriteFile(filepath.Join(keys, "keys.psk"), []byte("alice:00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS(keys, false); err == nil || !strings.Contains(err.Error(), "pre-shared keys (keys.psk) are not supported") {
		t.Errorf("a directory with pre-shared keys: %v", err)
	}
	ca := filepath.Join(dir, "ca-cert.pem")
	if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS(dir, true); err == nil || !strings.Contains(err.Error(), "no certificate in ca-cert.pem") {
		t.Errorf("a broken authority: %v", err)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS(dir, true); err == nil {
		t.Error("clients can't be verified without an authority")
	}
	if _, err := LoadTLS(dir, false); err != nil {
		t.Error(err)
	}
}
