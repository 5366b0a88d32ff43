// Package luks encrypts and decrypts the sectors of a disk as LUKS version 1
// does, after its on-disk format specification 1.2.3: a header with eight key
// slots, each of which holds the master key under a passphrase.
//
// It is for plain LUKS disks and for qcow2 images, which keep a LUKS header
// somewhere inside; so the package knows a Storage for header and key material,
// and a Cipher for sectors, and moves no data itself.
//
// Built is what QEMU writes with the AES cipher: keys of 128, 192 and 256 bits;
// modes xts, cbc and ecb; initialization vectors plain, plain64 and essiv;
// hashes of the SHA-1 and SHA-2 families. LUKS version 2, other ciphers and
// detached headers are refused. Cipher also serves the encryption without a
// header that qcow2 had before (NewLegacyAES).
//
// A Cipher may be used from any number of goroutines; the methods of a Volume
// that change key slots may not run at the same time as others of that Volume.
package luks

import "errors"

// Errors that callers match with errors.Is.
var (
	// ErrFormat means that the storage holds no LUKS header.
	ErrFormat = errors.New("not in LUKS format")
	// ErrUnsupported means that the header asks for something that is not built.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid means that the header contradicts itself or its limits.
	ErrInvalid = errors.New("invalid LUKS header")
	// ErrPassphrase means that no key slot opens with the passphrase.
	ErrPassphrase = errors.New("invalid password, cannot unlock any keyslot")
	// ErrSlot means that a key slot is not in the state that was asked for.
	ErrSlot = errors.New("key slot")
)
