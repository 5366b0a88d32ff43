package harness

import (
	"bytes"
	"sync"
)

// consoleTail is how much of a console's end is kept, in bytes.
const consoleTail = 64 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*consoleTail {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-consoleTail:]...)
	}
	return len(p), nil
}

// String returns what is kept, without the carriage returns of a terminal.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.ReplaceAll(t.buf, []byte("\r\n"), []byte("\n"))
	return string(text[max(0, len(text)-consoleTail):])
}
