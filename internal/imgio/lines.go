package imgio

import (
	"bufio"
	"io"
	"strings"
)

// lineReader reads lines of any length, the last maybe without an end.
type lineReader struct{ r *bufio.Reader }

func newLineReader(r io.Reader) *lineReader { return &lineReader{bufio.NewReader(r)} }

func (l *lineReader) next() (string, bool) {
	line, err := l.r.ReadString('\n')
	if err != nil && line == "" {
		return "", false
	}
	return strings.TrimSuffix(line, "\n"), true
}
