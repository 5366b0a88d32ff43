package nbdtool

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbd"
)

// credentials are those that --tls-creds names, for one end of a connection.
func (s *settings) credentials(server bool) (*blockopt.Credentials, error) {
	c, err := s.objects.TLS(s.tlsCreds, server)
	if err != nil {
		return nil, fmt.Errorf("Failed to get TLS creds: %w", err)
	}
	return c, nil
}

// tls is how clients are to be spoken to; nil: in clear.
func (s *settings) tls() (*tls.Config, error) {
	if s.tlsCreds == "" {
		return nil, nil
	}
	c, err := s.credentials(true)
	if err != nil {
		return nil, err
	}
	config, err := nbd.LoadTLS(c.Dir, c.Verify)
	if err != nil || s.tlsAuthz == "" {
		return config, err
	}
	if !c.Verify { // nobody would have to show a certificate
		return nil, errors.New("--tls-authz is not permitted with verify-peer=off")
	}
	a, err := s.objects.Authz(s.tlsAuthz)
	if err != nil {
		return nil, err
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		subject, err := subjectOf(state.PeerCertificates[0])
		if err == nil && !a.Allows(subject) {
			err = fmt.Errorf("TLS x509 authz check for %s is denied", subject)
		}
		return err
	}
	return config, nil
}

// subjectOf is whom a certificate is for, as RFC 2253 writes it.
func subjectOf(c *x509.Certificate) (string, error) {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &names); err != nil || len(rest) > 0 {
		return "", fmt.Errorf("subject of a certificate: %w", cmp.Or(err, errors.New("trailing bytes")))
	}
	return names.String(), nil
}

// capital is a text with a large first letter, as the C library has it.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
