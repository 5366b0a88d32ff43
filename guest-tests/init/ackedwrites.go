package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Blocks of acked-writes: as long as a page, and each in another cluster.
const (
	ackedSize   = 4096
	ackedStride = 68 << 10
)

// ackedWrites is the tool "init acked-writes": it writes block after block with
// direct I/O, each with its number in it, and prints the number when the write is
// done. Whoever pulls the plug knows then which blocks must be there.
func ackedWrites(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("acked-writes", flag.ContinueOnError)
	fs.SetOutput(stderr)
	device := fs.String("dev", "/dev/sda", "device to write: what is on it is lost")
	count := fs.Int("count", 4000, "blocks to write")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if err := writeAcked(*device, *count, stdout); err != nil {
		fmt.Fprintf(stderr, "acked-writes: %v\n", err)
		return 1
	}
	return 0
}

func writeAcked(device string, count int, stdout io.Writer) error {
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	block, err := pages(ackedSize)
	if err != nil {
		return err
	}
	for n := range count {
		text := fmt.Sprintf("block %8d\n", n)
		copy(block, bytes.Repeat([]byte(text), ackedSize/len(text)+1))
		if _, err := f.WriteAt(block, int64(n)*ackedStride); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "acked %d.\n", n)
	}
	return nil
}
