package imgtool

import (
	"os"
	"testing"
)

// TestDataFileIsWhereItWillBeOpened makes an image in another directory with an external data
// file: a relative name of that begins at the working directory, as when the image is opened.
func TestDataFileIsWhereItWillBeOpened(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"sub/data", "data", "file:sub/other"} {
		if status, _, errs := runTool("create", "-q", "-o", "data_file="+data, "sub/disk", "1M"); status != 0 {
			t.Fatalf("create with %s: %s", data, errs)
		}
		if status, _, errs := runTool("convert", "-O", "raw", "sub/disk", "copy"); status != 0 {
			t.Errorf("%s is not found: %s", data, errs)
		}
	}
	for _, name := range []string{"sub/data", "data", "sub/other"} {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}
