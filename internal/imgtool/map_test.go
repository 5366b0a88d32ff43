package imgtool

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/qcow2"
)

// countingWriter counts calls, and fails when it is to.
type countingWriter struct {
	calls int
	text  strings.Builder
	err   error
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.calls++
	if w.err != nil {
		return 0, w.err
	}
	return w.text.Write(p)
}

// TestMapWritesSeldom maps a disk of 2,000 extents: they leave in few pieces, in
// the words of the first and the last, and a full disk is told.
func TestMapWritesSeldom(t *testing.T) {
	const cluster, clusters = 64 << 10, 2000
	name := filepath.Join(t.TempDir(), "disk")
	tool := Tool{Name: "govmm img", Stdout: io.Discard, Stderr: io.Discard, DefaultFormat: "qcow2"}
	if code := tool.Run([]string{"create", "-q", name, "128M"}); code != 0 {
		t.Fatal("create fails")
	}
	f, err := qcow2.OpenFile(name, 2)
	if err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, cluster)
	data[0] = 1
	for i := range int64(clusters / 2) {
		if err := im.WriteV([][]byte{data}, i*2*cluster); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	var out countingWriter
	tool.Stdout = &out
	if code := tool.Run([]string{"map", "--output=json", name}); code != 0 {
		t.Fatal("map fails")
	}
	text := out.text.String()
	if n := strings.Count(text, "\n"); n != clusters || out.calls > 10 {
		t.Errorf("%d lines in %d writes", n, out.calls)
	}
	first := `[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "offset": 327680},` + "\n"
	last := `{ "start": 131006464, "length": 3211264, "depth": 0, "present": false, "zero": true, "data": false}]` + "\n"
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		t.Errorf("begins with %.130s\nends with %s", text, text[max(0, len(text)-110):])
	}
	tool.Stdout = &countingWriter{err: errors.New("full")}
	if code := tool.Run([]string{"map", "--output=json", name}); code != 1 {
		t.Errorf("exit status %d though nothing could be printed", code)
	}
}
