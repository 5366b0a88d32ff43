package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/govmm/govmm/guest-tests/ioverify"
	"golang.org/x/sys/unix"
)

// ioVerify is the tool "init io-verify": it carries out a plan of package
// ioverify on a block device with direct I/O, then verifies the whole area, and
// prints what it did as JSON. With --verify-only it checks what an earlier run
// of the same plan left.
func ioVerify(args []string, stdout, stderr io.Writer) int {
	var plan ioverify.Plan
	fs := flag.NewFlagSet("io-verify", flag.ContinueOnError)
	fs.SetOutput(stderr)
	device := fs.String("dev", "/dev/sda", "device to load: what is on it is lost")
	verifyOnly := fs.Bool("verify-only", false, "write nothing")
	plan.Flags(fs)
	if err := fs.Parse(args); err != nil {
		return 2
	}
	done, err := load(*device, plan, *verifyOnly)
	if err == nil {
		err = json.NewEncoder(stdout).Encode(done)
	}
	if err != nil {
		fmt.Fprintf(stderr, "io-verify: %v\n", err)
		return 1
	}
	return 0
}

func load(device string, plan ioverify.Plan, verifyOnly bool) (done struct {
	Run    ioverify.Counters `json:"run"`
	Verify ioverify.Counters `json:"verify"`
}, err error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return done, err
	}
	defer f.Close()
	if !verifyOnly {
		if done.Run, err = ioverify.Run(f, plan, pages); err != nil {
			return done, err
		}
	}
	done.Verify, err = ioverify.Verify(f, plan, pages)
	return done, err
}

// pages allocates memory that starts on a page, as direct I/O wants it.
func pages(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}
