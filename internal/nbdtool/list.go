package nbdtool

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/internal/nbdproto"
)

// list prints what the server exports that the options name.
func (t *Tool) list(s *settings) error {
	passed, err := activated()
	if err == nil && passed {
		if err = s.checkActivated(); err == nil {
			err = errors.New("List mode is incompatible with socket activation")
		}
	}
	if err != nil {
		return err
	}
	target := nbdclient.Target{Network: "unix", Address: s.socket}
	host := s.tlsHostname
	if s.socket == "" {
		bind, port := s.address()
		target.Network, target.Address = "tcp", net.JoinHostPort(bind, port)
		if host == "" {
			host = bind
		}
	}
	if s.tlsCreds != "" {
		c, err := s.credentials(false)
		if err != nil {
			return err
		}
		if target.TLS, err = nbdclient.LoadTLS(c.Dir, c.Verify, host); err != nil {
			return err
		}
	}
	exports, err := nbdclient.List(target)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stdout, "exports available: %d\n", len(exports))
	for i := range exports {
		printExport(t.Stdout, &exports[i])
	}
	return nil
}

// flagNames are the transmission flags by their bits.
var flagNames = []string{
	"", "readonly", "flush", "fua", "rotational", "trim", "zeroes", "df", "multi", "resize", "cache", "fast-zero",
}

func printExport(w io.Writer, e *nbdclient.Export) {
	fmt.Fprintf(w, " export: '%s'\n", e.Name)
	if e.Description != "" {
		fmt.Fprintf(w, "  description: %s\n", e.Description)
	}
	if e.Flags&nbdproto.FlagHasFlags != 0 {
		fmt.Fprintf(w, "  size:  %d\n  flags: 0x%x (", e.Size, e.Flags)
		for bit, name := range flagNames {
			if name != "" && e.Flags&(1<<bit) != 0 {
				fmt.Fprintf(w, " %s", name)
			}
		}
		fmt.Fprintln(w, " )")
	}
	if e.MinBlock != 0 {
		fmt.Fprintf(w, "  min block: %d\n  opt block: %d\n  max block: %d\n", e.MinBlock, e.PreferredBlock, e.MaxBlock)
	}
	if len(e.Contexts) > 0 {
		fmt.Fprintf(w, "  available meta contexts: %d\n", len(e.Contexts))
		for _, c := range e.Contexts {
			fmt.Fprintf(w, "   %s\n", c)
		}
	}
}
