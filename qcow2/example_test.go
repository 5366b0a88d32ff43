package qcow2_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/govmm/govmm/qcow2"
)

// Example creates an image, writes to its disk and reads it back.
func Example() {
	dir, err := os.MkdirTemp("", "qcow2")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	f, err := qcow2.OpenFile(filepath.Join(dir, "disk.qcow2"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		log.Fatal(err)
	}
	if err := qcow2.Create(f, qcow2.CreateOptions{Size: 10 << 30}); err != nil {
		log.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := im.WriteV([][]byte{[]byte("hello, "), []byte("disk")}, 1<<30); err != nil {
		log.Fatal(err)
	}
	if err := im.Flush(); err != nil { // now it would survive a crash of the host
		log.Fatal(err)
	}
	got := make([]byte, 11)
	if err := im.ReadV([][]byte{got}, 1<<30); err != nil {
		log.Fatal(err)
	}
	res, err := im.Check(qcow2.CheckOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q, %d of %d clusters in use, clean: %v\n", got, res.AllocatedClusters, res.TotalClusters, res.Clean())
	if err := im.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: "hello, disk", 1 of 163840 clusters in use, clean: true
}
