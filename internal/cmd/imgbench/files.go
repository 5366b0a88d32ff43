package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// fileSet is a directory of files that tasks work on: how QEMU's tools make it.
type fileSet struct {
	name string
	make func(s *sides, dir string) error
}

var (
	nothing = fileSet{"nothing", func(*sides, string) error { return nil }}
	// fullFiles are a disk of 512 MiB without a zero, sparseFiles one of 16 GiB with
	// 64 KiB of data in each 16 MiB: raw and qcow2.
	fullFiles = fileSet{"full", func(s *sides, dir string) error {
		return s.bothFormats(dir, "512M", 512, "1M", "1M")
	}}
	sparseFiles = fileSet{"sparse", func(s *sides, dir string) error {
		return s.bothFormats(dir, "16G", kib, "64k", "16M")
	}}
	textFiles    = fileSet{"text", makeText}
	allocated64G = fileSet{"allocated-64G", func(s *sides, dir string) error {
		return s.create(filepath.Join(dir, "disk"), "64G", "-o", "preallocation=metadata")
	}}
	allocated2T = fileSet{"allocated-2T", func(s *sides, dir string) error {
		return s.create(filepath.Join(dir, "disk"), "2T", "-o", "preallocation=metadata")
	}}
	// scattered2T is a disk with 4 KiB in each of 100,000 clusters all over it.
	scattered2T = fileSet{"scattered-2T", func(s *sides, dir string) error {
		disk := filepath.Join(dir, "disk")
		if err := s.create(disk, "2T"); err != nil {
			return err
		}
		return s.fill(disk, "qcow2", 100000, "4k", fmt.Sprint(int64(scatterBig)))
	}}
	snapshots64G = fileSet{"snapshots-64G", func(s *sides, dir string) error {
		disk := filepath.Join(dir, "disk")
		if err := s.create(disk, "64G", "-o", "preallocation=metadata"); err != nil {
			return err
		}
		if err := s.tool("qemu-img", "snapshot", "-c", "old", disk); err != nil {
			return err
		}
		return s.fill(disk, "qcow2", 4000, "64k", "16M")
	}}
	overlayFiles = fileSet{"overlay", makeOverlay}
)

// directory returns the directory of a set, made if it is not there yet.
func (s *sides) directory(f fileSet) (string, error) {
	dir := filepath.Join(s.dir, f.name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, f.make(s, dir)
}

// bothFormats makes a raw disk with count writes of a size, a step apart, and
// a qcow2 image of it.
func (s *sides) bothFormats(dir, disk string, count int, size, step string) error {
	raw := filepath.Join(dir, "raw")
	if err := s.tool("qemu-img", "create", "-q", "-f", "raw", raw, disk); err != nil {
		return err
	}
	if err := s.fill(raw, "raw", count, size, step); err != nil {
		return err
	}
	return s.tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(dir, "qcow2"))
}

// makeText makes 256 MiB that deflate shrinks to about a third, raw and
// compressed.
func makeText(s *sides, dir string) error {
	raw := filepath.Join(dir, "raw")
	if err := writeText(raw, 256); err != nil {
		return err
	}
	for _, kind := range []string{"zlib", "zstd"} {
		err := s.tool("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type="+kind, raw, filepath.Join(dir, kind))
		if err != nil {
			return err
		}
	}
	return nil
}

// writeText writes some MiB that deflate shrinks to about a third.
func writeText(file string, mebibytes int) error {
	var text bytes.Buffer
	for state := uint64(1); text.Len() < mib; {
		state = state*6364136223846793005 + 1442695040888963407
		fmt.Fprintf(&text, "%d block %x of the disk\n", text.Len(), state>>40)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	for range mebibytes {
		if _, err := out.Write(text.Bytes()[:mib]); err != nil {
			out.Close()
			return err
		}
	}
	return out.Close()
}

// makeOverlay makes a disk of 4 GiB with 128 MiB of data, an overlay that
// changes a quarter of those and adds as much, and another base, which differs
// from the first in 32 MiB.
func makeOverlay(s *sides, dir string) error {
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := s.create(file("base"), "4G"); err != nil {
		return err
	}
	if err := s.fill(file("base"), "qcow2", 2048, "64k", "128k"); err != nil {
		return err
	}
	if err := s.tool("cp", file("base"), file("other")); err != nil {
		return err
	}
	if err := s.fill(file("other"), "qcow2", 32, "1M", "64M"); err != nil {
		return err
	}
	if err := s.tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", file("top")); err != nil {
		return err
	}
	return s.fill(file("top"), "qcow2", 1024, "64k", "448k")
}
