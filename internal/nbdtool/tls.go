package nbdtool

import (
	"crypto/tls"
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
	return nbd.LoadTLS(c.Dir, c.Verify)
}

// capital is a text with a large first letter, as the C library has it.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
