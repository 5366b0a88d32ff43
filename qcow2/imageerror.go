package qcow2

import (
	"errors"
	"fmt"
	"strings"
)

// ImageError says why an image can't be opened: its header, or a table that it names, is
// not what the format or this package allows.
type ImageError struct {
	// Kind is ErrInvalid, ErrUnsupported, ErrTooLarge or ErrCorrupt.
	Kind error
	// Problem is what is wrong, in the words that QEMU has for it where it refuses the
	// same: programs compare them.
	Problem string
	// Detail is the value that was found, and what is allowed.
	Detail string
}

func (e *ImageError) Error() string {
	text := strings.TrimPrefix(e.Problem, "qcow2: ")
	if first, rest := text[:1], text[1:]; rest[:1] == strings.ToLower(rest[:1]) && (rest[0] < '0' || rest[0] > '9') {
		text = strings.ToLower(first) + rest // but not of "L1"
	}
	if !errors.Is(e.Kind, ErrUnsupported) {
		text = e.Kind.Error() + ": " + text
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap returns the Kind.
func (e *ImageError) Unwrap() error { return e.Kind }

// invalid makes an ImageError of kind ErrInvalid.
func invalid(problem, detail string, args ...any) error {
	return &ImageError{ErrInvalid, problem, fmt.Sprintf(detail, args...)}
}

// unknownKind makes an ImageError of kind ErrUnsupported. Its problem begins with
// "Unsupported".
func unknownKind(problem, detail string, args ...any) error {
	return &ImageError{ErrUnsupported, problem, fmt.Sprintf(detail, args...)}
}
