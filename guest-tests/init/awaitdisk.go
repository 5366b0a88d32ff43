package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// awaitDiskCount is the tool "init await-disks N": it waits until there are N disks
// with their device nodes, no more and no fewer, and prints their names.
func awaitDiskCount(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: init await-disks N")
		return 2
	}
	n, err := strconv.Atoi(args[0])
	if err == nil {
		err = await(fmt.Sprintf("%d disks", n), func() bool { return len(disks()) == n && len(nodes()) == n })
	}
	if err != nil {
		fmt.Fprintf(stderr, "await-disks: %v\n", err)
		return 1
	}
	fmt.Fprintln(stdout, strings.Join(disks(), " "))
	return 0
}

// nodes returns the names of the disks that have a device node.
func nodes() (names []string) {
	for _, disk := range disks() {
		if _, err := os.Stat(filepath.Join("/dev", disk)); err == nil {
			names = append(names, disk)
		}
	}
	return names
}
