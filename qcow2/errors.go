package qcow2

import "errors"

// Errors that callers match with errors.Is. The errors returned wrap them with
// what was tried and the value that was refused.
var (
	// ErrFormat means that the file does not hold a qcow2 image.
	ErrFormat = errors.New("image is not in qcow2 format")
	// ErrUnsupported means that the image uses a feature that is not built.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid means that a header field or a table has an impossible value.
	ErrInvalid = errors.New("invalid image")
	// ErrCorrupt means that metadata contradicts itself, or that the image was
	// marked corrupt by whoever found that earlier. Writes are refused.
	ErrCorrupt = errors.New("image is corrupt")
	// ErrReadOnly means that a write was tried on an image opened read-only.
	ErrReadOnly = errors.New("image is read-only")
	// ErrMetadata means that what refers to data could not be written; it stays in memory, and
	// the next Flush or Close tries again.
	ErrMetadata = errors.New("write metadata")
	// ErrNotEmptied means that CommitTo failed when the base had all, durably, and only the
	// image was left to empty.
	ErrNotEmptied = errors.New("the image is not empty")
	// ErrExpandZeroes means that the zero clusters of an image, which version 2 does not have,
	// could not be replaced.
	ErrExpandZeroes = errors.New("turn zero clusters into data")
	// ErrRange means that a request reaches beyond the end of the disk.
	ErrRange = errors.New("request outside the disk")
	// ErrAlignment means that a request that takes whole clusters has others.
	ErrAlignment = errors.New("request is not aligned to clusters")
	// ErrDeviceSize means that a device is too small, whose size is what it is.
	ErrDeviceSize = errors.New("the device is too small")
	// ErrClosed means that the image was closed.
	ErrClosed = errors.New("image is closed")
	// ErrTooLarge means that a table of the image can't grow any more.
	ErrTooLarge = errors.New("image is at the limit of its format")
	// ErrBacking means that the backing file is needed but was not opened.
	ErrBacking = errors.New("backing file is not open")
	// ErrDataFile means that the external data file is needed but was not opened.
	ErrDataFile = errors.New("data file is not open")
	// ErrSecret means that an encrypted image was opened without its passphrase.
	// (A wrong passphrase is luks.ErrPassphrase.)
	ErrSecret = errors.New("no passphrase")
	// ErrNoSnapshot means that the image has no snapshot of that ID or name.
	ErrNoSnapshot = errors.New("no such snapshot")
	// ErrNoBitmap means that the disk has no dirty bitmap of that name.
	ErrNoBitmap = errors.New("no such bitmap")
	// ErrBitmapExists means that the disk has a dirty bitmap of that name.
	ErrBitmapExists = errors.New("bitmap exists")
	// ErrBitmapInconsistent means that the contents of a bitmap are not known,
	// since a writer ended without storing them. It can only be removed.
	ErrBitmapInconsistent = errors.New("bitmap is inconsistent")
)
