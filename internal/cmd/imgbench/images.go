package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// image is a kind of image: how QEMU's tools make it.
type image struct {
	name string
	make func(s *sides, file string) error
}

var (
	empty      = image{"empty", func(s *sides, file string) error { return s.create(file, "100G") }}
	full       = image{"full", func(s *sides, file string) error { return s.createFull(file, 1) }}
	huge       = image{"huge", func(s *sides, file string) error { return s.create(file, "2T", "-o", "preallocation=metadata") }}
	chain      = image{"chain", makeChain}
	zero       = image{"zero", makeZero}
	sparse     = image{"sparse", makeSparse}
	allocated  = image{"allocated", func(s *sides, file string) error { return s.create(file, "1G", "-o", "preallocation=falloc") }}
	compressed = image{"compressed", func(s *sides, file string) error { return s.makeCompressed(file, "zlib") }}

	compressedZstd = image{"compressed by zstd", func(s *sides, file string) error { return s.makeCompressed(file, "zstd") }}
)

// create makes an empty image.
func (s *sides) create(file, size string, options ...string) error {
	return s.tool("qemu-img", append(append([]string{"create", "-q", "-f", "qcow2"}, options...), file, size)...)
}

// createFull makes an image of some GiB, all of it written, and on the disk.
func (s *sides) createFull(file string, gibibytes int) error {
	if err := s.create(file, fmt.Sprint(gibibytes, "G")); err != nil {
		return err
	}
	return s.fill(file, "qcow2", gibibytes*gib/mib, "1M", "1M")
}

// fill writes count requests of a size, a step apart, to an image.
func (s *sides) fill(file, format string, count int, size, step string) error {
	err := s.tool("qemu-img", "bench", "-q", "-w", "-f", format, "-t", "writeback", "-c", fmt.Sprint(count), "-d", "8",
		"-s", size, "-S", step, "--pattern", "0xa5", file)
	if err != nil {
		return err
	}
	return s.tool("sync", "-d", file)
}

// makeChain puts two overlays, a part of them written, over a full image.
func makeChain(s *sides, file string) error {
	base, middle := file+".base", file+".middle"
	if err := s.createFull(base, 1); err != nil {
		return err
	}
	if err := s.tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", middle); err != nil {
		return err
	}
	if err := s.fill(middle, "qcow2", 1000, "64k", "64k"); err != nil {
		return err
	}
	if err := s.tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", file); err != nil {
		return err
	}
	return s.fill(file, "qcow2", 500, "64k", "64k")
}

func makeZero(s *sides, file string) error {
	if err := s.create(file, "1G"); err != nil {
		return err
	}
	return s.tool("qemu-io", "-f", "qcow2", "-c", "write -z 0 1G", file)
}

// makeSparse writes one cluster in each 32 MiB of 2 TiB, which is what 4 KiB of an
// L2 table map: no two requests find each other's mapping.
func makeSparse(s *sides, file string) error {
	if err := s.create(file, "2T"); err != nil {
		return err
	}
	return s.tool("qemu-img", "bench", "-q", "-w", "-f", "qcow2", "-t", "writeback", "-c", fmt.Sprint(2*tib/stepSparse),
		"-d", "8", "-s", "64k", "-S", fmt.Sprint(stepSparse), file)
}

// makeCompressed compresses 256 MiB that shrink to about a third.
func (s *sides) makeCompressed(file, method string) error {
	raw := file + ".raw"
	defer os.Remove(raw)
	if err := writeText(raw, 256); err != nil {
		return err
	}
	return s.tool("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type="+method, raw, file)
}

// tool runs a program that makes an image.
func (s *sides) tool(name string, args ...string) error {
	if out, err := exec.CommandContext(s.ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, bytes.TrimSpace(out))
	}
	return nil
}

// file returns an image, made if it is not there yet.
func (s *sides) file(i image) (string, error) {
	file := filepath.Join(s.dir, i.name+".qcow2")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, i.make(s, file)
}
