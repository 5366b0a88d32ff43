package nbdclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// DefaultPort is the port of the protocol.
const DefaultPort = "10809"

// Target is an export of a server, and how to be connected with it.
type Target struct {
	Network string // "unix" or "tcp"
	Address string // path of the socket, or host:port
	Export  string // "" for the server's default

	// Context is the metadata context that says what is allocated; "" is
	// base:allocation, which all servers know that know any.
	Context string
	// TLS is how the connection is made secure; nil: it is not.
	TLS *tls.Config
	// OpenTimeout is how long to try to connect in the beginning; 0: once.
	OpenTimeout time.Duration
	// ReconnectDelay is how long requests wait for a new connection when one is lost.
	// 0: they fail.
	ReconnectDelay time.Duration
}

// ErrNoAddress means that a name has no server in it.
var ErrNoAddress = errors.New("NBD server address missing")

// ErrURI means that a name is not a URI of this protocol.
var ErrURI = errors.New("No valid URL specified")

// IsName reports whether a name is one that Parse is for.
func IsName(name string) bool {
	scheme, _, ok := strings.Cut(name, ":")
	return ok && (scheme == "nbd" || scheme == "nbd+tcp" || scheme == "nbd+unix")
}

// Parse reads nbd://HOST[:PORT]/EXPORT, nbd+tcp:// alike, nbd+unix:///EXPORT?socket=PATH,
// and the older nbd:HOST:PORT[:exportname=EXPORT] and nbd:unix:PATH[:exportname=EXPORT].
func Parse(name string) (Target, error) {
	if strings.Contains(name, "://") {
		return parseURI(name)
	}
	rest, ok := strings.CutPrefix(name, "nbd:")
	if !ok {
		return Target{}, errors.New("File name string for NBD must start with 'nbd:'")
	}
	rest, export, named := strings.Cut(rest, ":exportname=")
	if rest == "" || named && export == "" {
		return Target{}, ErrNoAddress
	}
	if path, ok := strings.CutPrefix(rest, "unix:"); ok {
		return Target{Network: "unix", Address: path, Export: export}, nil
	}
	address, err := parseAddress(rest)
	return Target{Network: "tcp", Address: address, Export: export}, err
}

// parseAddress reads HOST:PORT, [HOST]:PORT and :PORT. A comma ends the port.
func parseAddress(text string) (string, error) {
	host, port, ok := strings.Cut(text, ":")
	problem := "error parsing address '%s'"
	switch {
	case host == "":
		problem = "error parsing port in address '%s'"
	case text[0] == '[':
		host, port, ok = strings.Cut(text[1:], "]:")
		problem = "error parsing IPv6 address '%s'"
	}
	if port, _, _ = strings.Cut(port, ","); !ok || port == "" {
		return "", fmt.Errorf(problem, text)
	}
	address := net.JoinHostPort(host, port)
	if host == "" || strings.Contains(port, ":") { // there is no such host, and no such service
		_, err := resolvePort(address)
		return "", &ConnectError{address, err}
	}
	return address, nil
}

func parseURI(name string) (Target, error) {
	u, err := url.Parse(name)
	if err != nil {
		return Target{}, ErrURI
	}
	t := Target{Export: strings.TrimPrefix(u.Path, "/")}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil:
		return t, ErrURI
	case u.Scheme == "nbd+unix":
		if u.Host != "" || len(query) != 1 || len(query["socket"]) != 1 {
			return t, ErrURI
		}
		t.Network, t.Address = "unix", query.Get("socket")
	case u.Scheme == "nbd" || u.Scheme == "nbd+tcp":
		if u.Hostname() == "" || len(query) != 0 {
			return t, ErrURI
		}
		port := u.Port()
		if port == "" {
			port = DefaultPort
		}
		t.Network, t.Address = "tcp", net.JoinHostPort(u.Hostname(), port)
	default:
		return t, ErrURI
	}
	return t, nil
}

// Name is how a target is written, without what only options say.
func (t *Target) Name() string {
	switch {
	case t.Network == "unix" && t.Export != "":
		return "nbd+unix:///" + t.Export + "?socket=" + t.Address
	case t.Network == "unix":
		return "nbd+unix://?socket=" + t.Address
	case t.Export != "":
		return "nbd://" + plainAddress(t.Address) + "/" + t.Export
	}
	return "nbd://" + plainAddress(t.Address)
}

// plainAddress is HOST:PORT without brackets around the host, as QEMU writes it.
func plainAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host + ":" + port
}
