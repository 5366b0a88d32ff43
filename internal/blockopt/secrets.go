package blockopt

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Secrets are passphrases by their ids.
type Secrets map[string]string

// decode takes the properties of a secret: data=TEXT or file=NAME, format=raw or base64
// and, where that is encrypted with another secret, keyid and iv.
func (s Secrets) decode(p *properties, id string) (string, error) {
	var errs []error
	take := func(name string) (string, bool) {
		v, ok, err := p.text(name)
		errs = append(errs, err)
		return v, ok
	}
	data, given := take("data")
	file, named := take("file")
	format, err := p.one("format", "raw", "base64")
	errs = append(errs, err)
	key, encrypted := take("keyid")
	iv, _ := take("iv")
	for _, err := range append(errs, p.finish(id)) {
		if err != nil {
			return "", err
		}
	}
	switch {
	case given && named:
		return "", errors.New("'file' and 'data' are mutually exclusive")
	case named:
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("Unable to read %s: Failed to open file “%s”: %s", file, file, sentence(err))
		}
		data = string(b)
	case !given:
		return "", errors.New("Either 'file' or 'data' must be provided")
	}
	if encrypted {
		return s.decrypt(data, format, key, iv)
	}
	if format == "base64" {
		b, err := decodeBase64(data)
		return string(b), err
	}
	return data, nil
}

// decrypt returns what is encrypted by AES-256-CBC with the padding of PKCS #7.
func (s Secrets) decrypt(data, format, keyID, iv string) (string, error) {
	key, err := s.bytes(keyID)
	switch {
	case err != nil:
		return "", err
	case len(key) != 32:
		return "", errors.New("Key should be 32 bytes in length")
	case iv == "":
		return "", errors.New("IV is required to decrypt secret")
	}
	start, err := decodeBase64(iv)
	if err == nil && len(start) != aes.BlockSize {
		err = fmt.Errorf("IV should be %d bytes in length not %d", aes.BlockSize, len(start))
	}
	if err != nil {
		return "", err
	}
	text := []byte(data)
	if format == "base64" {
		if text, err = decodeBase64(data); err != nil {
			return "", err
		}
	}
	if len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return "", fmt.Errorf("Length %d must be a multiple of block size %d", len(text), aes.BlockSize)
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return "", err
	}
	cipher.NewCBCDecrypter(block, start).CryptBlocks(text, text)
	n := int(text[len(text)-1])
	if n > aes.BlockSize {
		return "", fmt.Errorf("Incorrect number of padding bytes (%d) found on decrypted data", n)
	}
	return string(text[:len(text)-n]), nil
}

// decodeBase64 decodes as QEMU does: in groups of four characters, of which an incomplete last
// one counts for nothing. Padding ends a group, not the text.
func decodeBase64(s string) ([]byte, error) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	if strings.Trim(s, digits+"=\n") != "" {
		return nil, errors.New("Base64 data contains invalid characters")
	}
	s = strings.ReplaceAll(s, "\n", "")
	var b []byte
	for ; len(s) >= 4; s = s[4:] {
		v := 0
		for i := range 4 {
			v = v<<6 | max(0, strings.IndexByte(digits, s[i]))
		}
		b = append(b, byte(v>>16))
		if s[2] != '=' {
			b = append(b, byte(v>>8))
		}
		if s[3] != '=' {
			b = append(b, byte(v))
		}
	}
	return b, nil
}

// Get returns a passphrase, which is text.
func (s Secrets) Get(id string) (string, error) {
	v, err := s.bytes(id)
	if err == nil && !utf8.ValidString(v) {
		return "", fmt.Errorf("Data from secret %s is not valid UTF-8", id)
	}
	return v, err
}

// bytes returns a secret that may be a key.
func (s Secrets) bytes(id string) (string, error) {
	v, ok := s[id]
	if !ok {
		return "", fmt.Errorf("No secret with id '%s'", id)
	}
	return v, nil
}

// sentence is the text of an error of the system, as the C library has it.
func sentence(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	text := no.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
