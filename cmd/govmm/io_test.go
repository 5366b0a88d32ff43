package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// TestIO creates an image, writes it and reads it, and fails when a pattern is
// another one.
func TestIO(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	for _, step := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"img", "create", "-q", "-f", "qcow2", disk, "8M"}, 0, ""},
		{[]string{"io", "-f", "qcow2", "-c", "write -P 7 0 64k", disk}, 0, "wrote 65536/65536 bytes at offset 0\n"},
		{[]string{"io", "-f", "qcow2", "-r", "-c", "read -P 7 0 64k", disk}, 0, "read 65536/65536 bytes at offset 0\n"},
		{[]string{"io", "-f", "qcow2", "-c", "read -P 8 0 64k", disk}, 1, "Pattern verification failed at offset 0, 65536 bytes\n"},
		{[]string{"io", "-f", "qcow2", disk + ".nowhere"}, 1, "govmm io: can't open device " + disk + ".nowhere: Could not open"},
		{[]string{"io", "--help"}, 0, "Usage: govmm io "},
	} {
		var out bytes.Buffer
		if status := run(context.Background(), step.args, strings.NewReader(""), &out, &out); status != step.status || !strings.Contains(out.String(), step.want) {
			t.Errorf("%q: status %d, %s; want %d, %q", step.args, status, &out, step.status, step.want)
		}
	}
}
