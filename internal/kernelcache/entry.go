package kernelcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A file of the cache has the kernel, then the checksums of its blocks in order, of 32
// bits each, then a footer, all little-endian: magic u64, size of the kernel u64, CRC-32C
// u32 of the checksums and the footer before it. The checksum of a block is its CRC-32C
// (Castagnoli), for which processors have an instruction, or blockZero if all of it
// is zero: such blocks are holes of the file, and need not be read.
const (
	blockSize    = 64 << 10
	checksumSize = 4
	footerSize   = 20
	magic        = 0x316B636D6D766F67 // "govmmck1"
	kernelMax    = 1 << 30
)

// blockZero is the checksum of blocks of zeroes. One of other content may have it, too,
// and is then never written as such: see sum.
const blockZero = 0

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is what a file of the cache is that is not as it was stored: a crash of the
// host or a bad disk.
var ErrDamaged = errors.New("the file in the cache of kernels is damaged")

// isZero reports whether there is nothing but zeroes in a block.
func isZero(p []byte) bool {
	var zero [blockSize]byte
	return bytes.Equal(p, zero[:len(p)])
}

// sum is the checksum of a block that is not zero.
func sum(p []byte) uint32 {
	if s := crc32.Checksum(p, castagnoli); s != blockZero {
		return s
	}
	return blockZero + 1
}

func blocks(size int64) int64 { return (size + blockSize - 1) / blockSize }

// fileSize is the size of the file of a kernel of so many bytes.
func fileSize(size int64) int64 { return size + blocks(size)*checksumSize + footerSize }

// write writes the file of a kernel, with holes where it is zero.
func write(f *os.File, data []byte) error {
	le := binary.LittleEndian
	var tail []byte
	for off := 0; off < len(data); off += blockSize {
		p := data[off:min(off+blockSize, len(data))]
		if isZero(p) {
			tail = le.AppendUint32(tail, blockZero)
			continue
		}
		tail = le.AppendUint32(tail, sum(p))
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			return err
		}
	}
	tail = le.AppendUint64(tail, magic)
	tail = le.AppendUint64(tail, uint64(len(data)))
	tail = le.AppendUint32(tail, crc32.Checksum(tail, castagnoli))
	_, err := f.WriteAt(tail, int64(len(data)))
	return err
}

// Kernel is an unpacked kernel in a cache. What is read of it is what was stored, or it is an
// error, ErrDamaged if the file is: each block that is read is checked, for which it need
// not be read twice. Its methods may be called by several goroutines at the same time.
type Kernel struct {
	f    *os.File
	size int64
	sums []byte

	mu    sync.Mutex
	block []byte // the block that was read last for a part of it
	which int64  // its number, -1: none
}

// OpenKernel opens a file of a cache, by its path. It is the caller's to close.
func OpenKernel(path string) (*Kernel, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	k := &Kernel{f: f, which: -1}
	if err := k.readTail(); err != nil {
		f.Close()
		return nil, err
	}
	return k, nil
}

// damaged says what is wrong with the file.
func (k *Kernel) damaged(why string) error {
	return &fs.PathError{Op: "read", Path: k.f.Name(), Err: fmt.Errorf("%w: %s", ErrDamaged, why)}
}

// readTail reads checksums and footer.
func (k *Kernel) readTail() error {
	info, err := k.f.Stat()
	if err != nil {
		return err
	}
	footer := make([]byte, footerSize)
	if !info.Mode().IsRegular() || info.Size() < footerSize {
		return k.damaged("it has no footer")
	}
	if _, err := k.f.ReadAt(footer, info.Size()-footerSize); err != nil {
		return err
	}
	le := binary.LittleEndian
	size := le.Uint64(footer[8:])
	if le.Uint64(footer) != magic || size > kernelMax || fileSize(int64(size)) != info.Size() {
		return k.damaged("it has no footer")
	}
	k.size = int64(size)
	tail := make([]byte, info.Size()-k.size)
	if _, err := k.f.ReadAt(tail, k.size); err != nil {
		return err
	}
	summed := len(tail) - checksumSize
	if crc32.Checksum(tail[:summed], castagnoli) != le.Uint32(tail[summed:]) {
		return k.damaged("its checksums are not those that were written")
	}
	k.sums = tail[:len(tail)-footerSize]
	return nil
}

// Close closes the file.
func (k *Kernel) Close() error { return k.f.Close() }

// Size is the size of the kernel.
func (k *Kernel) Size() int64 { return k.size }

// Name is the path of its file.
func (k *Kernel) Name() string { return k.f.Name() }

func (k *Kernel) sum(block int64) uint32 {
	return binary.LittleEndian.Uint32(k.sums[block*checksumSize:])
}

// ReadAt reads and checks.
func (k *Kernel) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: k.f.Name(), Err: unix.EINVAL}
	}
	for n < len(p) && off < k.size {
		block := off / blockSize
		var m int
		if size := min(blockSize, k.size-off); off%blockSize == 0 && int64(len(p)-n) >= size {
			m = int(size)
			err = k.readBlock(p[n:n+m], block)
		} else {
			m, err = k.readPart(p[n:], off)
		}
		if err != nil {
			return n, err
		}
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readBlock reads a whole block.
func (k *Kernel) readBlock(p []byte, block int64) error {
	want := k.sum(block)
	if want == blockZero {
		clear(p)
		return nil
	}
	if _, err := k.f.ReadAt(p, block*blockSize); err != nil {
		return err
	}
	if sum(p) != want {
		return k.damaged(fmt.Sprintf("%d bytes at %d are not those that were written", len(p), block*blockSize))
	}
	return nil
}

// readPart reads what is in the block of the first byte.
func (k *Kernel) readPart(p []byte, off int64) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	block := off / blockSize
	if k.which != block {
		k.which = -1
		k.block = append(k.block[:0], make([]byte, min(blockSize, k.size-block*blockSize))...)
		if err := k.readBlock(k.block, block); err != nil {
			return 0, err
		}
		k.which = block
	}
	return copy(p, k.block[off%blockSize:]), nil
}

// NextData is the first part of the kernel, from off on and before end, that is not
// known to be zero; both are end if there is none.
func (k *Kernel) NextData(off, end int64) (from, to int64) {
	end = min(end, k.size)
	for from = off; from < end && k.sum(from/blockSize) == blockZero; {
		from = (from/blockSize + 1) * blockSize
	}
	from = min(from, end)
	for to = from; to < end && k.sum(to/blockSize) != blockZero; {
		to = (to/blockSize + 1) * blockSize
	}
	return from, min(to, end)
}
