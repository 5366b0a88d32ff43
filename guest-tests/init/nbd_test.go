package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/nbd"
	"github.com/govmm/govmm/internal/sockettest"
)

// TestNBDGo negotiates with the server that guests use.
func TestNBDGo(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "disk")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := block.Open(block.Spec{Path: image, Format: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	l, err := net.Listen("unix", sockettest.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- (&nbd.Server{Exports: []nbd.Export{{Device: device}}}).Serve(ctx, l) }()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const hasFlags, sendFlush, sendFUA = 1, 4, 8
	size, flags, err := nbdGo(conn)
	if err != nil || size != 1<<20 || flags&(hasFlags|sendFlush|sendFUA) != hasFlags|sendFlush|sendFUA {
		t.Errorf("size %d, flags %#x, %v", size, flags, err)
	}
	conn.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
