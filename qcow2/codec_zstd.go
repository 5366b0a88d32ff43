package qcow2

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the largest window that a frame may ask for: what other
// readers accept by default. No memory follows from it, because a cluster is
// decompressed into a buffer of its size.
const maxZstdWindow = 128 << 20

// zstdSlack is how many bytes the decoder wants to have behind its output, so that
// it may copy in words: it takes a tenth less time with them, even where the output must
// be copied then.
const zstdSlack = 16

// zstdCodec is CompressionZstd. A cluster is one frame when we write it, and
// one or several when we read it.
type zstdCodec struct {
	outputs sync.Pool // of *[]byte, a cluster and zstdSlack long

	decoder func() (*zstd.Decoder, error) // made at the first use
	encoder func() (*zstd.Encoder, error)
}

func newZstdCodec(clusterSize int64) *zstdCodec {
	return &zstdCodec{
		outputs: sync.Pool{New: func() any { b := make([]byte, clusterSize+zstdSlack); return &b }},
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil,
				zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
				zstd.WithDecoderMaxWindow(maxZstdWindow),
				zstd.WithDecodeAllCapLimit(true))
		}),
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil,
				zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
				// As fast as the C library's default level; the next one of
				// this encoder makes data 5 % smaller in twice the time.
				zstd.WithEncoderLevel(zstd.SpeedFastest),
				zstd.WithAllLitEntropyCompression(true),
				zstd.WithWindowSize(int(max(clusterSize, zstd.MinWindowSize))),
				zstd.WithSingleSegment(true),
				zstd.WithEncoderCRC(false))
		}),
	}
}

func (z *zstdCodec) decode(dst, src []byte, spare bool) error {
	decoder, err := z.decoder()
	if err != nil {
		return err
	}
	var buf []byte
	if !spare {
		b := z.outputs.Get().(*[]byte)
		defer z.outputs.Put(b)
		buf = *b
	}
	for len(dst) > 0 {
		n, skippable, err := zstdFrame(src)
		if err != nil {
			return err
		}
		if !skippable {
			to := buf
			if spare {
				to = dst
			}
			out, err := decoder.DecodeAll(src[:n], to[:0:len(dst)+zstdSlack])
			switch {
			case err != nil:
				return err
			case len(out) == 0:
				return errors.New("zstd frame without contents")
			case len(out) > len(dst):
				return zstd.ErrDecoderSizeExceeded
			case &out[0] != &dst[0]:
				copy(dst, out)
			}
			dst = dst[len(out):]
		}
		src = src[n:]
	}
	return nil
}

func (z *zstdCodec) encode(buf, src []byte) []byte {
	encoder, err := z.encoder()
	if err != nil {
		return nil
	}
	out := encoder.EncodeAll(src, buf[:0])
	if len(out) >= len(src) {
		return nil
	}
	return out
}

// Kinds of zstd blocks (RFC 8878, 3.1.1.2.2) whose size field is not the
// number of bytes that follow.
const (
	zstdBlockRLE      = 1 // one byte follows
	zstdBlockReserved = 3
)

// zstdFrame returns the length of the frame that src begins with, and whether
// it is one that carries no data.
func zstdFrame(src []byte) (n int, skippable bool, err error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return 0, false, fmt.Errorf("zstd frame header: %w", err)
	}
	if h.Skippable {
		if int64(h.SkippableSize) > int64(len(src)-h.HeaderSize) {
			return 0, true, io.ErrUnexpectedEOF
		}
		return h.HeaderSize + int(h.SkippableSize), true, nil
	}
	n = h.HeaderSize
	for last := false; !last; {
		if len(src)-n < 3 {
			return 0, false, io.ErrUnexpectedEOF
		}
		head := int(src[n]) | int(src[n+1])<<8 | int(src[n+2])<<16
		last = head&1 != 0
		kind, size := head>>1&3, head>>3
		switch kind {
		case zstdBlockRLE:
			size = 1
		case zstdBlockReserved:
			return 0, false, errors.New("zstd block of a reserved type")
		}
		n += 3 + size
	}
	if h.HasCheckSum {
		n += 4
	}
	if n > len(src) {
		return 0, false, io.ErrUnexpectedEOF
	}
	return n, false, nil
}
