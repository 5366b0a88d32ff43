package imgtool

import (
	"strings"

	"github.com/govmm/govmm/qcow2"
)

// Specific is what info prints of the properties that only qcow2 images have:
// lines that begin with four blanks or more.
func Specific(q *qcow2.Info) string {
	var b strings.Builder
	tree(&b, specifics(q), 1)
	return b.String()
}
