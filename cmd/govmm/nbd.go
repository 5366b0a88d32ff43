package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbd"
	"github.com/govmm/govmm/internal/nbdtool"
	"github.com/govmm/govmm/qcow2"
	"github.com/spf13/cobra"
)

// nbdFlags are the flags of govmm nbd.
type nbdFlags struct {
	socket   string
	port     uint16
	bind     string
	once     bool
	readOnly bool
	shared   int
	tls      string
	verify   bool
	verbose  bool
}

const nbdPort = 10809 // assigned by IANA

func (a *app) nbdCommand() *cobra.Command {
	var f nbdFlags
	cmd := &cobra.Command{
		Use:   "nbd [flags] IMAGE[,KEY=VALUE...]...",
		Short: "Serve disk images to NBD clients",
		Long: `nbd serves disk images over the Network Block Device protocol, to nbdcopy,
nbd-client, qemu-img and every other client. It serves until it gets SIGTERM or
SIGINT; it then finishes what it has received and makes it durable.

An image is given as for --disk of "govmm run", with these keys more:
  export=NAME         what clients ask for (by default nothing, or the file's
                      name if there are several images)
  description=TEXT    what a list of exports says
  snapshot=NAME       the disk as it was in an internal snapshot, by ID or name;
                      needs readonly=on or --read-only
Clients can ask which parts are allocated (base:allocation), how deep in the
backing chain (qemu:allocation-depth), and what is dirty in each bitmap of a qcow2
image (qemu:dirty-bitmap:NAME).

With --tls-creds, clients have to use TLS. The directory holds server-cert.pem and
server-key.pem and, to check the clients' certificates, ca-cert.pem.`,
		Example: `  govmm nbd --socket /tmp/disk.sock disk.qcow2
  nbdcopy 'nbd+unix:///?socket=/tmp/disk.sock' disk.raw
  govmm nbd --port 10809 --read-only path=a.qcow2,export=a path=b.img,format=raw,export=b`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.serveNBD(cmd.Context(), &f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.socket, "socket", "", "serve on this Unix socket")
	flags.Uint16Var(&f.port, "port", nbdPort, "serve on this TCP port")
	flags.StringVar(&f.bind, "bind", "localhost", "address of the TCP port; 0.0.0.0 and :: are all")
	flags.BoolVar(&f.once, "once", false, "end when the last client has left")
	flags.BoolVar(&f.readOnly, "read-only", false, "refuse writes")
	flags.IntVar(&f.shared, "shared", nbd.DefaultMaxConnections, "how many connections to admit at a time")
	flags.StringVar(&f.tls, "tls-creds", "", "demand TLS, with the certificates in this directory")
	flags.BoolVar(&f.verify, "tls-verify-peer", false, "demand a certificate of the client, too")
	flags.BoolVar(&f.verbose, "verbose", false, "log clients as they come and go")
	cmd.MarkFlagsMutuallyExclusive("socket", "port")
	cmd.MarkFlagsMutuallyExclusive("socket", "bind")
	return cmd
}

func (a *app) serveNBD(ctx context.Context, f *nbdFlags, images []string) (err error) {
	if f.shared < 1 {
		return fmt.Errorf("--shared %d: at least 1 is needed", f.shared)
	}
	if f.verify && f.tls == "" {
		return errors.New("--tls-verify-peer needs --tls-creds")
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	s := &nbd.Server{
		MaxConnections: f.shared,
		Once:           f.once,
		Processors:     nbd.GoProcessors(),
		Logger:         slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})),
	}
	if f.tls != "" {
		if s.TLS, err = nbd.LoadTLS(f.tls, f.verify); err != nil {
			return err
		}
	}
	defer func() {
		for i := range s.Exports {
			err = errors.Join(err, s.Exports[i].Device.(block.Device).Close())
		}
	}()
	for _, image := range images {
		e, err := openExport(image, f.readOnly, len(images) > 1)
		if err != nil {
			return err
		}
		s.Exports = append(s.Exports, e)
	}
	if err := s.Validate(); err != nil {
		return err
	}
	l, err := f.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer onSignal(func(signalError) { cancel() })()
	return s.Serve(ctx, l)
}

// openExport opens an image and describes the export that it becomes.
func openExport(image string, readOnly, named bool) (nbd.Export, error) {
	spec, rest, err := block.ParseSpec(image)
	if err != nil {
		return nbd.Export{}, err
	}
	spec.ReadOnly = spec.ReadOnly || readOnly
	var e nbd.Export
	if named {
		e.Name = filepath.Base(spec.Path)
	}
	for _, key := range slices.Sorted(maps.Keys(rest)) {
		switch value := rest[key]; key {
		case "export":
			e.Name = value
		case "description":
			e.Description = value
		case "snapshot":
			switch {
			case value == "":
				return nbd.Export{}, fmt.Errorf("image %q: snapshot= (the ID or the name of a snapshot is needed)", image)
			case !spec.ReadOnly:
				return nbd.Export{}, fmt.Errorf("image %q: snapshot=%s needs readonly=on or --read-only", image, value)
			}
			spec.Snapshot = qcow2.SnapshotRef{Any: value}
		default:
			return nbd.Export{}, fmt.Errorf("image %q: unknown key %q", image, key)
		}
	}
	spec.Serve()
	d, err := block.Open(spec)
	if err != nil {
		return nbd.Export{}, err
	}
	e.Device = d
	e.FastZero = nbdtool.ZeroesFast(d, spec.Format)
	if m, ok := d.(block.Mapper); ok {
		e.Contexts = nbdtool.MapContexts(m, 1)
	}
	if im, ok := d.(*qcow2.Image); ok {
		bitmaps, err := im.Bitmaps()
		if err != nil {
			return nbd.Export{}, errors.Join(fmt.Errorf("image %q: %w", image, err), d.Close())
		}
		for _, b := range bitmaps {
			if !b.Inconsistent {
				e.Contexts = append(e.Contexts, nbdtool.BitmapContext(im, b.Name))
			}
		}
	}
	return e, nil
}

// listen opens the socket that the flags name. A Unix socket that a dead server
// has left is replaced.
func (f *nbdFlags) listen() (net.Listener, error) {
	if f.socket == "" {
		return net.Listen("tcp", net.JoinHostPort(f.bind, strconv.Itoa(int(f.port))))
	}
	if err := checkSocketPath(f.socket); err != nil {
		return nil, fmt.Errorf("--socket %q: %w", f.socket, err)
	}
	if info, err := os.Lstat(f.socket); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if c, err := net.Dial("unix", f.socket); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("--socket %s: another program serves there", f.socket)
		}
		if err := os.Remove(f.socket); err != nil {
			return nil, err
		}
	}
	return net.Listen("unix", f.socket)
}
