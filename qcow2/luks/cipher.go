package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"sync"
)

// Cipher encrypts and decrypts sectors of a disk. Its methods may be called
// concurrently and do not allocate.
type Cipher struct {
	mode    string
	ivGen   string
	data    cipher.Block
	fast    *aesKeys     // xts: the same key, unless nil
	tweak   cipher.Block // of xts: second half of the key
	essiv   cipher.Block // of essiv: the hashed key
	scratch sync.Pool    // of *scratch
}

// scratch is what one call works with.
type scratch struct {
	iv     [aes.BlockSize]byte
	sector [SectorSize]byte // xts: the tweaks of a sector; cbc: the sector encrypted
}

func newCipher(s spec, key []byte) (*Cipher, error) {
	if len(key) != s.key {
		return nil, fmt.Errorf("%w: key of %d bytes (must be %d)", ErrInvalid, len(key), s.key)
	}
	c := &Cipher{mode: s.mode, ivGen: s.ivGen}
	c.scratch.New = func() any { return new(scratch) }
	var err error
	if s.ivGen == ivESSIV {
		h := newHash(s.ivHash)()
		_, _ = h.Write(key) // a hash takes all
		if c.essiv, err = aes.NewCipher(h.Sum(nil)); err != nil {
			return nil, err
		}
	}
	if s.mode == modeXTS {
		half := len(key) / 2
		if c.tweak, err = aes.NewCipher(key[half:]); err != nil {
			return nil, err
		}
		key = key[:half]
		c.fast = newAESKeys(key)
	}
	c.data, err = aes.NewCipher(key)
	return c, err
}

// NewLegacyAES returns the cipher of qcow2's encryption without a header
// (crypt_method 1): AES in CBC mode, the key being the first 16 bytes of the
// passphrase, filled up with zeroes. A wrong passphrase can't be noticed.
func NewLegacyAES(passphrase []byte) (*Cipher, error) {
	key := make([]byte, 16)
	copy(key, passphrase)
	return newCipher(spec{mode: modeCBC, ivGen: ivPlain64, key: len(key)}, key)
}

// Encrypt encrypts src, the whole sectors from the given one on, into dst, which
// is src or does not overlap it.
func (c *Cipher) Encrypt(dst, src []byte, sector uint64) { c.run(dst, src, sector, true) }

// Decrypt is the inverse of Encrypt.
func (c *Cipher) Decrypt(dst, src []byte, sector uint64) { c.run(dst, src, sector, false) }

func (c *Cipher) run(dst, src []byte, sector uint64, encrypt bool) {
	if len(src)%SectorSize != 0 || len(dst) < len(src) {
		panic("luks: not whole sectors")
	}
	s := c.scratch.Get().(*scratch)
	for ; len(src) > 0; dst, src, sector = dst[SectorSize:], src[SectorSize:], sector+1 {
		d, p := dst[:SectorSize], src[:SectorSize]
		switch {
		case c.mode == modeXTS:
			c.xts(s, d, p, sector, encrypt)
		case c.mode == modeECB:
			c.blocks(d, p, encrypt)
		case encrypt:
			c.encryptCBC(s, d, p, sector)
		default:
			c.decryptCBC(s, d, p, sector)
		}
	}
	c.scratch.Put(s)
}

// setIV makes s.iv the initialization vector of a sector.
func (c *Cipher) setIV(s *scratch, sector uint64) {
	if c.ivGen == ivPlain {
		sector &= 1<<32 - 1
	}
	s.iv = [aes.BlockSize]byte{}
	binary.LittleEndian.PutUint64(s.iv[:], sector)
	if c.ivGen == ivESSIV {
		c.essiv.Encrypt(s.iv[:], s.iv[:])
	}
}

// blocks runs the cipher over single blocks.
func (c *Cipher) blocks(dst, src []byte, encrypt bool) {
	if encrypt {
		for i := 0; i < SectorSize; i += aes.BlockSize {
			c.data.Encrypt(dst[i:i+aes.BlockSize], src[i:i+aes.BlockSize])
		}
		return
	}
	for i := 0; i < SectorSize; i += aes.BlockSize {
		c.data.Decrypt(dst[i:i+aes.BlockSize], src[i:i+aes.BlockSize])
	}
}

func (c *Cipher) encryptCBC(s *scratch, dst, src []byte, sector uint64) {
	c.setIV(s, sector)
	before := s.iv[:]
	for i := 0; i < SectorSize; i += aes.BlockSize {
		block := dst[i : i+aes.BlockSize]
		xorBlock(block, src[i:i+aes.BlockSize], before)
		c.data.Encrypt(block, block)
		before = block
	}
}

func (c *Cipher) decryptCBC(s *scratch, dst, src []byte, sector uint64) {
	c.setIV(s, sector)
	copy(s.sector[:], src)
	c.blocks(dst, s.sector[:], false)
	xorBlock(dst, dst, s.iv[:])
	subtle.XORBytes(dst[aes.BlockSize:], dst[aes.BlockSize:], s.sector[:SectorSize-aes.BlockSize])
}

func xorBlock(dst, a, b []byte) {
	le := binary.LittleEndian
	le.PutUint64(dst, le.Uint64(a)^le.Uint64(b))
	le.PutUint64(dst[8:], le.Uint64(a[8:])^le.Uint64(b[8:]))
}
