package imgtool

import (
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/nbdclient"
)

// creatable refuses the name of an image, or of a data file, whose protocol makes no files. A
// file whose own name has a colon has a path before it.
func creatable(name string) error {
	i := strings.IndexAny(name, ":/")
	if i < 0 || name[i] == '/' || nbdclient.IsName(name) {
		return nil
	}
	switch scheme := name[:i]; scheme {
	case driverFile:
		return nil
	case "blkdebug", "blkverify", "null-co", "null-aio":
		return fmt.Errorf("Protocol driver '%s' does not support image creation", scheme)
	case "fat":
		return fmt.Errorf("Protocol driver '%s' does not support image creation", "vvfat")
	default:
		return fmt.Errorf("Unknown protocol '%s'", scheme)
	}
}
