package qcow2

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/govmm/govmm/qcow2/luks"
)

// Methods of encryption of CreateOptions and Info.
const (
	// EncryptionLUKS keeps a LUKS1 header in the image; sectors are numbered by
	// their place in the file.
	EncryptionLUKS = "luks"
	// EncryptionAES is the old way: AES-128-CBC, the key being the passphrase
	// itself; sectors are numbered by their place on the disk. It is weak, and
	// a wrong passphrase goes unnoticed.
	EncryptionAES = "aes"
)

// Encryption says how a new image is encrypted.
type Encryption struct {
	Method string // EncryptionLUKS (default) or EncryptionAES
	Secret []byte // the passphrase
	LUKS   luks.Params
}

// validate refuses what can't be made.
func (e *Encryption) validate() error {
	switch {
	case e.Method != "" && e.Method != EncryptionLUKS && e.Method != EncryptionAES:
		return fmt.Errorf("encryption method %q (%s and %s are allowed)", e.Method, EncryptionLUKS, EncryptionAES)
	case e.Secret == nil:
		return fmt.Errorf("%w: an encrypted image needs one", ErrSecret)
	case e.Method == EncryptionAES:
		return nil
	}
	_, err := e.LUKS.HeaderSize()
	return err
}

// Encrypted data and its header.
const (
	cryptoExtSize   = 16
	maxCryptoHeader = 64 << 20 // bytes of LUKS header and key material
)

// encryption moves guest data that is encrypted.
type encryption struct {
	data    *luks.Sectors
	byGuest bool         // sectors are numbered by guest offsets, not by host offsets
	volume  *luks.Volume // nil with EncryptionAES
}

// position is what the initialization vectors of data are made of.
func (e *encryption) position(host, guest int64) int64 {
	if e.byGuest {
		return guest
	}
	return host
}

// zero writes n zero bytes, encrypted.
func (e *encryption) zero(host, guest, n int64) error {
	for n > 0 {
		step := min(n, int64(len(zeroes)))
		if err := e.data.WriteV([][]byte{zeroes[:step]}, host, e.position(host, guest)); err != nil {
			return err
		}
		host, guest, n = host+step, guest+step, n-step
	}
	return nil
}

// cryptoHeader is the place of the LUKS header; n is 0 if there is none.
func (h *header) cryptoHeader() (off, n int64) {
	ext := h.extension(extCrypto)
	if ext == nil {
		return 0, 0
	}
	return int64(binary.BigEndian.Uint64(ext)), int64(binary.BigEndian.Uint64(ext[8:]))
}

// encryption is the method by which guest data is encrypted, "" for none.
func (h *header) encryption() string {
	switch h.cryptMethod {
	case cryptAES:
		return EncryptionAES
	case cryptLUKS:
		return EncryptionLUKS
	}
	return ""
}

// validateEncryption is the part of validate about encryption.
func (h *header) validateEncryption() error {
	ext := h.extension(extCrypto)
	switch h.cryptMethod {
	case cryptNone, cryptAES:
		if ext != nil {
			return invalid("CRYPTO header extension only expected with LUKS encryption method", "the method is %d", h.cryptMethod)
		}
		return nil
	case cryptLUKS:
	default:
		return unknownKind(fmt.Sprintf("Unsupported encryption method %d", h.cryptMethod), "")
	}
	if ext == nil {
		return invalid(fmt.Sprintf("Missing CRYPTO header for crypt method %d", cryptLUKS), "")
	}
	if len(ext) != cryptoExtSize {
		return invalid(fmt.Sprintf("CRYPTO header extension size %d, but expected size %d", len(ext), cryptoExtSize), "")
	}
	off, n := binary.BigEndian.Uint64(ext), binary.BigEndian.Uint64(ext[8:])
	return h.checkTable("Encryption header", off, n, maxCryptoHeader)
}

// openEncryption unlocks an encrypted image as its options say.
func (im *Image) openEncryption(o *Options) error {
	method := im.hdr.cryptMethod
	if !im.encrypted() || o.NoSecret {
		return nil
	}
	var secret []byte
	if o.Secret != nil {
		var err error
		if secret, err = o.Secret(); err != nil {
			return fmt.Errorf("%w: %w", ErrSecret, err)
		}
	}
	if secret == nil {
		return fmt.Errorf("%w: the image is encrypted", ErrSecret)
	}
	if method == cryptAES {
		c, err := luks.NewLegacyAES(secret)
		if err != nil {
			return err
		}
		im.crypt = &encryption{data: luks.NewSectors(im.data, c), byGuest: true}
		return nil
	}
	off, n := im.hdr.cryptoHeader()
	v, err := luks.Open(luks.Section(im.f, off, n), secret, luks.OpenOptions{})
	if err != nil {
		return fmt.Errorf("encrypted image: %w", err)
	}
	im.crypt = &encryption{data: luks.NewSectors(im.data, v.Cipher()), volume: v}
	return nil
}

// encrypted reports whether the guest's data is encrypted. If crypt is nil then,
// it stays locked.
func (im *Image) encrypted() bool { return im.g.encryption != "" }

// locked refuses what needs the data of an image that was opened without its
// passphrase.
func (im *Image) locked() error {
	if im.crypt != nil || !im.encrypted() {
		return nil
	}
	return fmt.Errorf("%w: the data is encrypted", ErrSecret)
}

// encrypt makes a new image, which holds no data yet, an encrypted one.
// Preconditions: nobody else uses the image.
func (im *Image) encrypt(e *Encryption) error {
	h := *im.hdr
	if e.Method == EncryptionAES {
		h.cryptMethod = cryptAES
		return im.replaceHeader(&h)
	}
	n, err := e.LUKS.HeaderSize()
	if err != nil {
		return err
	}
	im.mu.Lock()
	clusters := im.g.clusters(n)
	off, err := im.allocate(clusters)
	if err == nil {
		im.setMeta(off, clusters, metaCrypto)
	}
	im.mu.Unlock()
	if err != nil {
		return err
	}
	// Key slots that are not in use read as zeroes.
	if err := im.f.ZeroRange(off, clusters<<im.g.clusterBits); err != nil {
		return err
	}
	if _, err := luks.Create(luks.Section(im.f, off, n), e.Secret, e.LUKS); err != nil {
		return err
	}
	if err := im.drain(); err != nil {
		return err
	}
	ext := binary.BigEndian.AppendUint64(nil, uint64(off))
	ext = binary.BigEndian.AppendUint64(ext, uint64(n))
	h.extensions = slices.Clone(im.hdr.extensions)
	at := slices.IndexFunc(h.extensions, func(e extension) bool { return e.kind == extFeatureNames })
	if at < 0 {
		at = len(h.extensions)
	}
	h.extensions = slices.Insert(h.extensions, at, extension{extCrypto, ext})
	h.cryptMethod = cryptLUKS
	return im.replaceHeader(&h)
}

// EncryptionInfo describes the encryption of an image.
type EncryptionInfo struct {
	Method string       // EncryptionLUKS or EncryptionAES
	Locked bool         // the image was opened without its secret
	LUKS   *luks.Header // nil with EncryptionAES, and if it can't be read
}

func (im *Image) encryptionInfo() *EncryptionInfo {
	switch {
	case !im.encrypted():
		return nil
	case im.crypt == nil:
		info := &EncryptionInfo{Method: im.g.encryption, Locked: true}
		if off, n := im.hdr.cryptoHeader(); n > 0 {
			// What can't be read is not told; whoever unlocks it gets the error.
			info.LUKS, _ = luks.ReadHeader(luks.Section(im.f, off, n))
		}
		return info
	case im.crypt.volume == nil:
		return &EncryptionInfo{Method: EncryptionAES}
	}
	im.keysMu.Lock()
	defer im.keysMu.Unlock()
	h := im.crypt.volume.Header()
	return &EncryptionInfo{Method: EncryptionLUKS, LUKS: &h}
}

// ChangeKeys has f change the key slots of an image with LUKS encryption, one such
// change at a time. Requests for data don't wait for it.
func (im *Image) ChangeKeys(f func(*luks.Volume) error) error {
	t, err := im.epochs.enter()
	if err != nil {
		return err
	}
	defer im.epochs.exit(t)
	im.keysMu.Lock()
	defer im.keysMu.Unlock()
	switch {
	case im.readOnly:
		return ErrReadOnly
	case im.corrupt.Load():
		return ErrCorrupt
	case im.g.encryption != EncryptionLUKS:
		return fmt.Errorf("%w: the image has no LUKS encryption", ErrUnsupported)
	}
	if err := im.locked(); err != nil {
		return err
	}
	return f(im.crypt.volume)
}
