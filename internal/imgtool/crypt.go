package imgtool

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

// encryption applies the options about encryption.
func (t *Tool) encryption(n *newImage, o *qcow2.CreateOptions) error {
	v := n.values
	method, named := v["encrypt.format"]
	switch {
	case named && v.on("encryption"):
		return errors.New("'encrypt.format' and its alias 'encryption' can't be used at the same time")
	case v.on("encryption"):
		method = "aes"
	case !named:
		for name := range v {
			if strings.HasPrefix(name, "encrypt.") {
				return errors.New("Parameter 'encrypt.format' is missing")
			}
		}
		return nil
	}
	switch method {
	case "aes", "luks":
	default:
		return fmt.Errorf("Parameter 'format' does not accept value '%s'", method)
	}
	secret, err := t.secret(v["encrypt.key-secret"], "encrypt.key-secret")
	if err != nil {
		return err
	}
	o.Encryption = &qcow2.Encryption{Method: qcow2.EncryptionLUKS, Secret: []byte(secret)}
	if method == "aes" {
		o.Encryption.Method = qcow2.EncryptionAES
		return nil
	}
	o.Encryption.LUKS, err = luksParams(v, "encrypt.")
	return err
}

// cryptoHeader is the length of the header of an encrypted image, in whole
// clusters.
func (n *newImage) cryptoHeader() (int64, error) {
	if n.values["encrypt.format"] != "luks" {
		return 0, nil
	}
	p, err := luksParams(n.values, "encrypt.")
	if err != nil {
		return 0, err
	}
	return p.HeaderSize()
}

// amendKeys adds or erases key slots of an encrypted image, if options ask for that.
func (t *Tool) amendKeys(im *qcow2.Image, v formatValues, force bool) error {
	const prefix = "encrypt."
	any := false
	for name := range v {
		any = any || strings.HasPrefix(name, prefix)
	}
	if !any {
		return nil
	}
	e := im.Info().Encryption
	if e == nil {
		return errors.New("Can't amend encryption options - encryption not present")
	}
	if e.Method != qcow2.EncryptionLUKS {
		return errors.New("Only LUKS encryption options can be amended for qcow2")
	}
	c, err := t.keyChange(v, prefix, force)
	if err != nil {
		return err
	}
	return im.ChangeKeys(c.apply)
}

// luksDict describes a LUKS header.
func luksDict(h *luks.Header, base int64) dict {
	mode, gen, _ := strings.Cut(h.CipherMode, "-")
	gen, hash, _ := strings.Cut(gen, ":")
	slots := []any{}
	for _, s := range h.Slots {
		d := dict{"active": s.Active, "key-offset": int64(s.Material)*luks.SectorSize + base}
		if s.Active {
			d["iters"], d["stripes"] = s.Iterations, s.Stripes
		}
		slots = append(slots, d)
	}
	d := dict{
		"ivgen-alg": gen, "hash-alg": h.Hash, "cipher-alg": fmt.Sprintf("%s-%d", h.CipherName, keyBits(h, mode)),
		"uuid": h.UUID, "cipher-mode": mode, "slots": slots,
		"payload-offset": h.PayloadOffset() + base, "master-key-iters": h.DigestIters,
	}
	if hash != "" {
		d["ivgen-hash-alg"] = hash
	}
	return d
}

// keyBits is the size of the cipher's key; XTS has two in the master key.
func keyBits(h *luks.Header, mode string) uint32 {
	if mode == "xts" {
		return h.KeyBytes * 8 / 2
	}
	return h.KeyBytes * 8
}

// describeLUKS looks at a LUKS disk without unlocking it.
func (t *Tool) describeLUKS(s source, i *imageInfo) (*imageInfo, error) {
	f, err := s.spec.OpenStorage()
	if err != nil {
		return nil, openError(s.name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, openError(s.name, err)
	}
	h, err := luks.ReadHeader(io.NewSectionReader(luks.Section(f, 0, size), 0, size))
	if err != nil {
		return nil, openError(s.name, err)
	}
	i.size, i.crypt, i.luks = max(size-h.PayloadOffset(), 0), true, h
	i.allocated(s)
	return i, nil
}
