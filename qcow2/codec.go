package qcow2

import (
	"fmt"
	"sync"

	"github.com/govmm/govmm/qcow2/internal/deflate"
)

// Compression is how an image compresses clusters (compression_type of the
// header). It holds for all compressed clusters of an image.
type Compression uint8

const (
	// CompressionZlib is a raw deflate stream; the format calls it zlib.
	CompressionZlib Compression = 0
	// CompressionZstd is Zstandard (RFC 8878), version 3 images only. It is an
	// order of magnitude faster to write, and several times faster to read.
	CompressionZstd Compression = 1
)

// String is the name that qemu-img uses.
func (c Compression) String() string {
	switch c {
	case CompressionZlib:
		return "zlib"
	case CompressionZstd:
		return "zstd"
	}
	return fmt.Sprintf("unknown compression type %d", uint8(c))
}

// codec compresses and decompresses clusters. Its methods may be called from
// any number of goroutines.
type codec interface {
	// decode fills dst from the stream that src begins with. What follows the
	// stream belongs to other clusters. With spare, codecSpare bytes behind dst, in
	// its capacity, may be overwritten, which saves a copy.
	decode(dst, src []byte, spare bool) error
	// encode returns src compressed, in buf if that is large enough; nil if
	// that takes as many bytes as src, or more.
	encode(buf, src []byte) []byte
}

// codecSpare is how many bytes a codec would like to have behind its output.
const codecSpare = zstdSlack

// newCodec returns the codec of an image. Preconditions: c is known.
func newCodec(c Compression, clusterSize int64) codec {
	if c == CompressionZstd {
		return newZstdCodec(clusterSize)
	}
	return new(deflateCodec)
}

// deflateCodec is CompressionZlib.
type deflateCodec struct {
	readers sync.Pool // of *deflate.Decoder
	writers sync.Pool // of *deflate.Encoder
}

func (d *deflateCodec) decode(dst, src []byte, _ bool) error {
	z, _ := d.readers.Get().(*deflate.Decoder)
	if z == nil {
		z = new(deflate.Decoder)
	}
	defer d.readers.Put(z)
	return z.Decode(dst, src)
}

func (d *deflateCodec) encode(buf, src []byte) []byte {
	z, _ := d.writers.Get().(*deflate.Encoder)
	if z == nil {
		z = new(deflate.Encoder)
	}
	defer d.writers.Put(z)
	if cap(buf) < len(src)-1 {
		buf = make([]byte, len(src)-1)
	}
	return z.Encode(buf[:0:len(src)-1], src)
}
