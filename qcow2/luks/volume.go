package luks

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Storage holds a header and its key material: the beginning of a LUKS disk, or
// the part of an image that is set aside for them. Offsets are in bytes from the
// start of the header; a range outside of it is an error.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes durable what was written before.
	Sync() error
}

// Params describes a new volume. Zero values choose what QEMU does.
type Params struct {
	Cipher string // aes-128, aes-192 or aes-256 (default)
	Mode   string // xts (default), cbc or ecb
	IVGen  string // plain64 (default), plain or essiv
	IVHash string // for essiv: sha256 (default)
	Hash   string // sha1, sha224, sha256 (default), sha384 or sha512
	KeyParams
}

// KeyParams says how much work it shall be to try a passphrase.
type KeyParams struct {
	// IterTime is how long it shall take on this machine. Default
	// DefaultIterTime.
	IterTime time.Duration
	// Iterations, unless 0, fixes the number of iterations instead.
	Iterations uint32
}

// OpenOptions bounds the work that a header may ask for.
type OpenOptions struct {
	// MaxIterations is the largest number of PBKDF2 iterations that is
	// accepted. Default DefaultMaxIterations.
	MaxIterations uint32
}

// Volume is an unlocked volume.
type Volume struct {
	s      Storage
	h      Header
	spec   spec
	key    []byte
	cipher *Cipher
}

// header returns the header of a new volume, without keys.
func (p *Params) header() (*Header, error) {
	def := func(v, d string) string {
		if v == "" {
			return d
		}
		return v
	}
	h := &Header{CipherName: "aes", Hash: def(p.Hash, "sha256")}
	switch name := def(p.Cipher, "aes-256"); name {
	case "aes-128":
		h.KeyBytes = 16
	case "aes-192":
		h.KeyBytes = 24
	case "aes-256":
		h.KeyBytes = 32
	default:
		return nil, fmt.Errorf("%w cipher %q (aes-128, aes-192 and aes-256 are allowed)", ErrUnsupported, name)
	}
	mode, gen, ivHash := def(p.Mode, modeXTS), def(p.IVGen, ivPlain64), p.IVHash
	if mode == modeXTS {
		h.KeyBytes *= 2
	}
	if gen == ivESSIV {
		ivHash = def(ivHash, "sha256")
	}
	h.CipherMode = mode + "-" + gen
	if ivHash != "" {
		h.CipherMode += ":" + ivHash
	}
	if len(h.CipherMode) > 31 {
		return nil, fmt.Errorf("%w hash %q", ErrUnsupported, ivHash)
	}
	if p.IterTime < 0 {
		return nil, fmt.Errorf("%w iteration time %v", ErrUnsupported, p.IterTime)
	}
	at := uint32(materialAlign / SectorSize)
	for i := range h.Slots {
		h.Slots[i].Material = at
		h.Slots[i].Stripes = stripes
		at += materialSectors(h.KeyBytes)
	}
	h.Payload = at
	_, err := h.spec()
	return h, err
}

// HeaderSize is the room in bytes that header and key material of a new volume
// take.
func (p *Params) HeaderSize() (int64, error) {
	h, err := p.header()
	if err != nil {
		return 0, err
	}
	return h.PayloadOffset(), nil
}

// Create makes a new volume in s, which must have HeaderSize bytes of room. Its
// slot 0 opens with the passphrase.
func Create(s Storage, passphrase []byte, p Params) (*Volume, error) {
	h, err := p.header()
	if err != nil {
		return nil, err
	}
	sp, err := h.spec()
	if err != nil {
		return nil, err
	}
	h.UUID = newUUID()
	key := make([]byte, sp.key)
	_, _ = rand.Read(key) // it never fails
	_, _ = rand.Read(h.DigestSalt[:])
	if h.DigestIters, err = p.iterations(sp.hash, digestSize, 8); err != nil {
		return nil, err
	}
	digest, err := derive(sp.hash, key, h.DigestSalt[:], h.DigestIters, digestSize)
	if err != nil {
		return nil, err
	}
	copy(h.Digest[:], digest)
	c, err := newCipher(sp, key)
	if err != nil {
		return nil, err
	}
	v := &Volume{s: s, h: *h, spec: sp, key: key, cipher: c}
	if _, err := v.AddKey(0, passphrase, p.KeyParams); err != nil {
		return nil, err
	}
	return v, nil
}

// iterations is the number of iterations to use for n bytes of key, divided by
// part.
func (p *KeyParams) iterations(hash string, n int, part uint32) (uint32, error) {
	count, err := p.Iterations, error(nil)
	if count == 0 {
		want := p.IterTime
		if want == 0 {
			want = DefaultIterTime
		}
		count, err = iterationsFor(hash, n, want)
	}
	return max(count/part, minIterations), err
}

// Open unlocks the volume in s with the key slot that the passphrase opens.
func Open(s Storage, passphrase []byte, o OpenOptions) (*Volume, error) {
	h, err := ReadHeader(s)
	if err != nil {
		return nil, err
	}
	sp, err := h.spec()
	if err != nil {
		return nil, err
	}
	limit := o.MaxIterations
	if limit == 0 {
		limit = DefaultMaxIterations
	}
	if err := h.checkWork(limit); err != nil {
		return nil, err
	}
	v := &Volume{s: s, h: *h, spec: sp}
	for i := range h.Slots {
		if !h.Slots[i].Active {
			continue
		}
		if v.key, err = v.unlock(i, passphrase); err != nil {
			return nil, err
		}
		if v.key != nil {
			v.cipher, err = newCipher(sp, v.key)
			return v, err
		}
	}
	return nil, ErrPassphrase
}

// checkWork refuses to try passphrases that take for ever.
func (h *Header) checkWork(limit uint32) error {
	if h.DigestIters > limit {
		return fmt.Errorf("%w: %d iterations for the master key (at most %d are allowed)", ErrInvalid, h.DigestIters, limit)
	}
	for i, s := range h.Slots {
		if s.Active && s.Iterations > limit {
			return fmt.Errorf("%w: %d iterations in key slot %d (at most %d are allowed)", ErrInvalid, s.Iterations, i, limit)
		}
	}
	return nil
}

// unlock returns the master key that slot i holds under the passphrase, nil if
// that does not open it.
func (v *Volume) unlock(i int, passphrase []byte) ([]byte, error) {
	slot := &v.h.Slots[i]
	c, err := v.slotCipher(slot, passphrase)
	if err != nil {
		return nil, err
	}
	material := make([]byte, v.materialSize())
	if _, err := v.s.ReadAt(material, int64(slot.Material)*SectorSize); err != nil {
		return nil, fmt.Errorf("read key slot %d: %w", i, err)
	}
	c.Decrypt(material, material, 0)
	key := merge(material, v.spec.key, newHash(v.spec.hash))
	clear(material)
	digest, err := derive(v.spec.hash, key, v.h.DigestSalt[:], v.h.DigestIters, digestSize)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(digest, v.h.Digest[:]) == 0 {
		return nil, nil
	}
	return key, nil
}

// slotCipher is the cipher of a slot's key material: that of the volume with
// the key that comes from the passphrase.
func (v *Volume) slotCipher(s *Slot, passphrase []byte) (*Cipher, error) {
	key, err := derive(v.spec.hash, passphrase, s.Salt[:], s.Iterations, v.spec.key)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newCipher(v.spec, key)
}

// materialSize is the length of the key material of a slot, in whole sectors.
func (v *Volume) materialSize() int {
	return (v.spec.key*stripes + SectorSize - 1) / SectorSize * SectorSize
}

// Cipher is the cipher of the volume's sectors.
func (v *Volume) Cipher() *Cipher { return v.cipher }

// Header is a copy of the volume's header.
func (v *Volume) Header() Header { return v.h }

// newUUID makes a random UUID (version 4) as text.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
