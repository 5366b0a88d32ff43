package nbd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// LoadTLS makes a TLS configuration of a directory with the files that QEMU and
// libnbd know: server-cert.pem and server-key.pem, and ca-cert.pem, whose
// authority a client's certificate must come from if verify is set. Pre-shared keys
// (keys.psk), which they know as well, Go's TLS does not have.
func LoadTLS(dir string, verify bool) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server-cert.pem"), filepath.Join(dir, "server-key.pem"))
	if errors.Is(err, os.ErrNotExist) {
		if _, psk := os.Stat(filepath.Join(dir, "keys.psk")); psk == nil {
			err = errors.New("pre-shared keys (keys.psk) are not supported; server-cert.pem and server-key.pem are")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("TLS credentials in %s: %w", dir, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	ca, err := os.ReadFile(filepath.Join(dir, "ca-cert.pem"))
	switch {
	case err == nil:
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("TLS credentials in %s: no certificate in ca-cert.pem", dir)
		}
	case verify || !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("TLS credentials in %s: %w", dir, err)
	}
	if verify {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
