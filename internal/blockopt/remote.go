package blockopt

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbdclient"
)

// remoteOptions are the options of driver nbd.
var remoteOptions = []string{
	"server.type", "server.path", "server.host", "server.port", "path", "host", "port", "export",
	"x-dirty-bitmap", "open-timeout", "reconnect-delay", "filename", "tls-creds", "tls-hostname",
}

// remoteName sets the options that the name of an export stands for.
func remoteName(t *Tree, name string) error {
	target, err := nbdclient.Parse(name)
	if err != nil {
		return err
	}
	t.Set("file.driver", "nbd")
	if target.Network == "unix" {
		t.Set("file.server.type", "unix")
		t.Set("file.server.path", target.Address)
	} else {
		host, port, err := net.SplitHostPort(target.Address)
		if err != nil {
			return err
		}
		t.Set("file.server.type", "inet")
		t.Set("file.server.host", host)
		t.Set("file.server.port", port)
	}
	if target.Export != "" {
		t.Set("file.export", target.Export)
	}
	return nil
}

// remoteToFile gives the options of driver nbd the names that they have under a format.
func (r *resolver) remoteToFile(at func(string) string) {
	for _, name := range remoteOptions {
		r.rest.rename(at(name), at("file."+name))
	}
	r.rest.Set(at("file.driver"), "nbd")
}

// remote takes the options of the export that a disk is. It returns them as JSON has
// them.
func (r *resolver) remote(s *Source, at func(string) string) (map[string]any, error) {
	take := func(name string) string {
		v, _, _ := r.rest.take(at("file." + name))
		return v
	}
	if name := take("filename"); name != "" {
		named := NewTree()
		if err := remoteName(named, name); err != nil {
			return nil, err
		}
		for _, n := range named.Names() {
			if r.rest.Has(join(at(""), n)) {
				return nil, errors.New("Option 'server' cannot be used with a file name")
			}
			r.rest.Set(at(n), named.Get(n))
		}
		take("driver")
	}
	hasPath := r.rest.Has(at("file.server.path"))
	kind, path, host, port := take("server.type"), take("server.path"), take("server.host"), take("server.port")
	oldPath, oldHost, oldPort := take("path"), take("host"), take("port")
	switch {
	case kind != "" && (oldPath != "" || oldHost != "" || oldPort != ""):
		return nil, errors.New("Cannot use 'server' and path/host/port at the same time")
	case oldPath != "" && oldHost != "":
		return nil, errors.New("path and host may not be used at the same time")
	case oldPath != "":
		kind, path = "unix", oldPath
	case oldHost != "":
		kind, host, port = "inet", oldHost, oldPort
		if port == "" {
			port = nbdclient.DefaultPort
		}
	case kind == "" && (path != "" || host != "" || port != ""):
		return nil, errors.New("Parameter 'type' is missing")
	case kind == "":
		return nil, nbdclient.ErrNoAddress
	}
	t := nbdclient.Target{Export: take("export"), Context: take("x-dirty-bitmap")}
	server := map[string]any{"type": kind}
	switch kind {
	case "unix":
		if !hasPath && path == "" {
			return nil, errors.New("Parameter 'path' is missing")
		}
		t.Network, t.Address, server["path"] = "unix", path, path
	case "inet":
		if host == "" || port == "" {
			missing := "host"
			if host != "" {
				missing = "port"
			}
			return nil, fmt.Errorf("Parameter '%s' is missing", missing)
		}
		t.Network, t.Address = "tcp", net.JoinHostPort(host, port)
		server["host"], server["port"] = host, port
	default:
		return nil, fmt.Errorf("Parameter 'type' does not accept value '%s'", kind)
	}
	for name, to := range map[string]*time.Duration{"open-timeout": &t.OpenTimeout, "reconnect-delay": &t.ReconnectDelay} {
		v := take(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseUint(v, 0, 32)
		if err != nil {
			return nil, fmt.Errorf("Parameter '%s' expects a number", name)
		}
		*to = time.Duration(n) * time.Second
	}
	creds, name := take("tls-creds"), take("tls-hostname")
	if creds != "" {
		var err error
		if t.TLS, err = r.tls(creds, name, host); err != nil {
			return nil, err
		}
	}
	full := map[string]any{"driver": "nbd", "server": server}
	if oldPath != "" || oldHost != "" {
		full = map[string]any{"driver": "nbd"}
		for name, value := range map[string]string{"path": oldPath, "host": oldHost, "port": oldPort} {
			if value != "" {
				full[name] = value
			}
		}
	}
	for name, value := range map[string]string{"export": t.Export, "tls-creds": creds, "tls-hostname": name} {
		if value != "" {
			full[name] = value
		}
	}
	s.Spec.Path = t.Name()
	s.Spec.Storage = &block.Spec{Format: block.FormatNBD, Path: s.Spec.Path, Remote: nbdclient.New(t)}
	s.Name = s.Spec.Path
	return full, nil
}

// tls is how a connection is made secure with the credentials of an id. name is that of the
// server's certificate; "": the host's.
func (r *resolver) tls(id, name, host string) (*tls.Config, error) {
	if r.objects == nil {
		return nil, fmt.Errorf("No TLS credentials with id '%s'", id)
	}
	c, err := r.objects.TLS(id, false)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = host
	}
	return nbdclient.LoadTLS(c.Dir, c.Verify, name)
}
