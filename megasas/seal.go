package megasas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// seal is a header that tells what follows it, and if that is whole. All fields
// are little endian:
//
//	 0   8  what it is: magic
//	 8   4  version of the format
//	12   4  length of what follows the header
//	16   4  CRC-32C of that
//	20   4  zero
type seal struct {
	magic   string // 8 characters
	version uint32
	is      string // in words
}

const sealLen = 24

// castagnoli is the table of CRC-32C, which is made once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// close fills the header of b, for which there is room at its start.
func (s *seal) close(b []byte) []byte {
	le := binary.LittleEndian
	copy(b, s.magic)
	le.PutUint32(b[8:], s.version)
	le.PutUint32(b[12:], uint32(len(b)-sealLen))
	le.PutUint32(b[16:], crc32.Checksum(b[sealLen:], castagnoli()))
	return b
}

// open returns what follows the header.
func (s *seal) open(b []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < sealLen || string(b[:8]) != s.magic {
		return nil, errors.New("not " + s.is)
	}
	if v := le.Uint32(b[8:]); v != s.version {
		return nil, fmt.Errorf("version %d of the format: only %d is known", v, s.version)
	}
	body := b[sealLen:]
	if n := le.Uint32(b[12:]); uint64(n) != uint64(len(body)) {
		return nil, fmt.Errorf("%d bytes, where the header says %d", len(body), n)
	}
	if crc32.Checksum(body, castagnoli()) != le.Uint32(b[16:]) {
		return nil, errors.New("the checksum is wrong")
	}
	return body, nil
}
