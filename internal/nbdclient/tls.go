package nbdclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/internal/nbdproto"
)

var errNoTLS = errors.New("Server does not support STARTTLS")

// LoadTLS makes a TLS configuration of a directory with the files that QEMU and libnbd
// know: ca-cert.pem, whose authority the server's certificate must come from if verify is
// set, for the name host; and client-cert.pem and client-key.pem, which may be missing.
func LoadTLS(dir string, verify bool, host string) (*tls.Config, error) {
	// What is verified below is told in QEMU's words.
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, ServerName: host}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client-cert.pem"), filepath.Join(dir, "client-key.pem"))
	switch {
	case err == nil:
		config.Certificates = []tls.Certificate{pair}
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("TLS credentials in %s: %w", dir, err)
	}
	if !verify {
		return config, nil
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca-cert.pem"))
	if err != nil {
		return nil, fmt.Errorf("TLS credentials in %s: %w", dir, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("TLS credentials in %s: no certificate in ca-cert.pem", dir)
	}
	config.VerifyConnection = func(s tls.ConnectionState) error {
		return verifyServer(s.PeerCertificates, roots, host)
	}
	return config, nil
}

// certificateError is what is wrong with a server's certificate.
type certificateError string

func (e certificateError) Error() string { return string(e) }

// verifyServer checks that the first certificate of a server comes from an authority and is
// for its name.
func verifyServer(chain []*x509.Certificate, roots *x509.CertPool, host string) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return certificateError("The certificate hasn't got a known issuer")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return certificateError("The certificate has expired")
	case err != nil:
		return err
	case host == "":
		return certificateError("No hostname for certificate validation")
	case chain[0].VerifyHostname(host) != nil:
		return certificateError("Certificate does not match the hostname " + host)
	}
	return nil
}

// startTLS goes on in TLS.
func (h *handshake) startTLS(config *tls.Config) error {
	h.option(nbdproto.OptStartTLS, nil)
	kind, data := h.reply(nbdproto.OptStartTLS)
	switch {
	case h.err != nil:
		return h.failed()
	case kind == nbdproto.RepErrUnsup:
		h.option(nbdproto.OptAbort, nil)
		return errors.New("Server don't support STARTTLS option")
	case kind&nbdproto.RepError != 0:
		return h.refused(nbdproto.OptStartTLS, kind, data)
	case kind != nbdproto.RepAck || len(data) != 0:
		return fmt.Errorf("Server answered option %d (%s) with unexpected reply %d", nbdproto.OptStartTLS, optionNames[nbdproto.OptStartTLS], kind)
	case h.r.Buffered() != 0: // somebody else's: it would count as if it had been secret
		return fmt.Errorf("%d bytes behind the answer to STARTTLS", h.r.Buffered())
	}
	c := tls.Client(h.nc, config)
	var bad certificateError
	if err := c.Handshake(); errors.As(err, &bad) {
		return bad
	} else if err != nil {
		return fmt.Errorf("TLS handshake failed: %w", err)
	}
	h.nc = c
	h.r.Reset(c)
	return nil
}
