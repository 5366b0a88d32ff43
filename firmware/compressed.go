package firmware

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// unpackedMax is the largest kernel that is unpacked, in bytes. Those of
// distributions have a quarter of that.
const unpackedMax = 256 * mib

// dictionaryMax bounds the memory that an unpacker may want, in bytes.
const dictionaryMax = 128 * mib

// compression is a format that distributions ship kernels in.
type compression struct {
	name, magic string
	open        func(src io.Reader) (io.Reader, func(), error)
}

func nothing() {}

// Names of compressions that are treated specially somewhere.
const (
	gzipName = "gzip"
	xzName   = "xz"
)

// compressions are known by their first bytes. The lz4 of Linux's build is the
// older of the two formats.
var compressions = [...]compression{
	{gzipName, "\x1f\x8b", func(src io.Reader) (io.Reader, func(), error) {
		r, err := gzip.NewReader(src)
		return r, nothing, err
	}},
	{xzName, "\xfd7zXZ\x00", func(src io.Reader) (io.Reader, func(), error) {
		r, err := xz.NewReader(src)
		return r, nothing, err
	}},
	{"zstd", "\x28\xb5\x2f\xfd", func(src io.Reader) (io.Reader, func(), error) {
		r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(unpackedMax+1), zstd.WithDecoderMaxWindow(dictionaryMax))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}},
	{"lz4", "\x02\x21\x4c\x18", openLZ4},
	{"lz4", "\x04\x22\x4d\x18", openLZ4},
}

func openLZ4(src io.Reader) (io.Reader, func(), error) { return lz4.NewReader(src), nothing, nil }

// compressionOf finds the format of a file by its beginning, nil if it is none.
func compressionOf(head []byte) *compression {
	for i := range compressions {
		if bytes.HasPrefix(head, []byte(compressions[i].magic)) {
			return &compressions[i]
		}
	}
	return nil
}

// unpack reads all of a compressed file into memory.
func (c *compression) unpack(src Source) ([]byte, error) {
	if c.name == xzName {
		if err := checkDictionary(src); err != nil {
			return nil, err
		}
	}
	r, closeReader, err := c.open(io.NewSectionReader(src, 0, src.Size()))
	if err != nil {
		return nil, c.failed(err)
	}
	defer closeReader()
	var data bytes.Buffer
	n, err := io.Copy(&data, io.LimitReader(r, unpackedMax+1))
	switch {
	case n > unpackedMax || errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, fmt.Errorf("%s data of more than %s: too large for a kernel", c.name, FormatSize(unpackedMax))
	case err != nil:
		return nil, c.failed(err)
	}
	return data.Bytes(), nil
}

// failed says in one line why unpacking failed.
func (c *compression) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s data that is cut off", c.name)
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("bad %s data: %s", c.name, text)
}

// checkDictionary refuses xz data whose first block wants a dictionary that is too
// large (The .xz File Format 1.1.0, 3.1 and 5.3.1). The blocks after it, if there
// are any, were written by the same program.
func checkDictionary(src Source) error {
	const (
		streamHeader = 12
		filterLZMA2  = 0x21
		unit         = 4 // of the block header's size
	)
	head := make([]byte, 64)
	n := min(int64(len(head)), src.Size()-streamHeader)
	if n < 2 {
		return nil // it is cut off, which the unpacker will find
	}
	head = head[:n]
	if err := readFull(src, head, streamHeader); err != nil {
		return err
	}
	head = head[:min(len(head), (int(head[0])+1)*unit)]
	i := bytes.Index(head, []byte{filterLZMA2, 1})
	if i < 0 || i+2 >= len(head) {
		return nil
	}
	// The size is 2 or 3 times a power of two.
	bits := head[i+2] & 0x3F
	if bits > 40 || (uint64(2)|uint64(bits&1))<<(bits/2+11) > dictionaryMax {
		return fmt.Errorf("xz data that needs a dictionary of more than %s", FormatSize(dictionaryMax))
	}
	return nil
}
