package qcow2

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	kib = int64(1) << 10
	mib = kib << 10
	gib = mib << 10
	tib = gib << 10
)

// osFile opens a new file in a directory of the test.
func osFile(t testing.TB, name string) *OSFile {
	t.Helper()
	f, err := OpenFile(filepath.Join(t.TempDir(), name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func pattern(b byte, n int64) [][]byte {
	return [][]byte{bytes.Repeat([]byte{b}, int(n))}
}

// TestLayoutVectors holds images that we write against the ones that qemu-img
// and qemu-io 7.2.22 write for the same operations: equal byte for byte.
func TestLayoutVectors(t *testing.T) {
	write := func(b byte, off, n int64) func(*Image) error {
		return func(im *Image) error { return im.WriteV(pattern(b, n), off) }
	}
	tests := []struct {
		name   string
		o      CreateOptions
		do     []func(*Image) error // each in a session of its own
		length int64
		sum    string // first half of the SHA-256
	}{
		{"64M", CreateOptions{Size: 64 * mib}, nil, 196616, "1b7af784841125887e688254229e2828"},
		{"1M", CreateOptions{Size: 1 * mib}, nil, 196616, "0e7db0d4ad0a3b83d343a88d5991fc50"},
		{"0", CreateOptions{}, nil, 196608, "1f0e416c971c2d5effe7d6d021965e76"},
		{"1T", CreateOptions{Size: tib}, nil, 212992, "aff06a546faabbf67123b750dfd8d49e"},
		{"v2", CreateOptions{Size: 64 * mib, Version: 2}, nil, 196616, "f97519586d4e24a85d5502da904103af"},
		{"512", CreateOptions{Size: 64 * mib, ClusterSize: 512}, nil, 17920, "02461b271c5c14cae8ddbb8363d31646"},
		{"512 64 bit", CreateOptions{Size: 64 * mib, ClusterSize: 512, RefcountBits: 64}, nil, 17920, "a4706fd351bbb4cd164d20627de37078"},
		{"4k", CreateOptions{Size: 64 * mib, ClusterSize: 4 * kib}, nil, 12544, "28a81fba547c205b4bcbe3ead1b69cae"},
		{"2M", CreateOptions{Size: 64 * mib, ClusterSize: 2 * mib}, nil, 6291464, "76589d2b8d6c26037a8e4cf6131681b6"},
		{"1 bit", CreateOptions{Size: 64 * mib, RefcountBits: 1}, nil, 196616, "58c72cce92ed78da9df9b6efce8674a3"},
		{"64 bit", CreateOptions{Size: 64 * mib, RefcountBits: 64}, nil, 196616, "ef71aa3e39231958cdee6a4d9f2ced8c"},
		{"extended L2", CreateOptions{Size: 64 * mib, ExtendedL2: true}, nil, 196616, "31fedc47a8bba5f591a990b91026e401"},
		{"lazy", CreateOptions{Size: 64 * mib, LazyRefcounts: true}, nil, 196616, "c7daf6bb9d247c28df9d50d6696231f8"},
		{"zstd", CreateOptions{Size: 64 * mib, Compression: CompressionZstd}, nil, 196616, "36d2f89675b6495131a95e867be04a8b"},
		{"backing", CreateOptions{Size: mib, BackingFile: "base.raw", BackingFormat: "raw"}, nil, 196616, "7bf9f94ec46267a54633cab47d1dbc10"},
		{"metadata 4M", CreateOptions{Size: 4 * mib, Preallocation: PreallocateMetadata}, nil, 4521984, "a153726054a57a07cd0c4ef8ab0ac834"},
		{"metadata 4M 4k", CreateOptions{Size: 4 * mib, ClusterSize: 4 * kib, Preallocation: PreallocateMetadata}, nil, 4218880, "9e1c952baf92fe5d872f88fd48a0d93f"},
		{"write 64k", CreateOptions{Size: 64 * mib}, []func(*Image) error{write(1, 0, 64*kib)}, 393216, "19ff20251bb73d00e18b5744ac9fb6c5"},
		{"write 1k", CreateOptions{Size: 64 * mib}, []func(*Image) error{write(1, kib, kib)}, 393216, "c27e89d1836735a1ac063ebf632e296c"},
		{"write 1M", CreateOptions{Size: 64 * mib}, []func(*Image) error{write(1, 0, mib)}, 1376256, "c48f0e64ddee52966061138bff6d7ab6"},
		{"zero 1M", CreateOptions{Size: 64 * mib}, []func(*Image) error{
			func(im *Image) error { return im.WriteZeroes(0, mib, false) },
		}, 327680, "5d54f934c94b2c3b68005fb59ff88246"},
		{"discard", CreateOptions{Size: 64 * mib}, []func(*Image) error{
			write(1, 0, 128*kib),
			func(im *Image) error { return im.Discard(0, 64*kib) },
		}, 458752, "22bc849b60713955f9183ce994488896"},
		{"two writes", CreateOptions{Size: 64 * mib}, []func(*Image) error{
			write(1, 32*mib, 64*kib), write(2, 0, 64*kib),
		}, 458752, "d63ecd80032d0009d6fbffc7da64edb6"},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := osFile(t, "disk.qcow2")
			if err := Create(f, tt.o); err != nil {
				t.Fatal(err)
			}
			path := f.Path()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for _, do := range tt.do {
				f, err := OpenFile(path, os.O_RDWR)
				if err != nil {
					t.Fatal(err)
				}
				im, err := Open(f, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if err := do(im); err != nil {
					t.Fatal(err)
				}
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(got)) != tt.length {
				t.Errorf("length %d, want %d", len(got), tt.length)
			}
			if sum := fmt.Sprintf("%x", sha256.Sum256(got))[:32]; sum != tt.sum {
				t.Errorf("sha256 %s, want %s", sum, tt.sum)
			}
		})
	}
}
