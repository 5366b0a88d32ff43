package blockopt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
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

// decodeBase64 puts up with lines and with padding that is missing.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(strings.ReplaceAll(s, "\n", ""), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("Base64 data contains invalid characters")
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
