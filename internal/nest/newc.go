package nest

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// newcMagic and newcTrailer begin and end the records of an archive in the "newc" format of
// cpio (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
const (
	newcMagic   = "070701"
	newcTrailer = "TRAILER!!!"
	newcUnit    = 4 // names and contents begin at multiples of this
)

// newcWriter writes an archive. After an error it writes nothing, and close returns it.
type newcWriter struct {
	w   io.Writer
	err error
}

// newcRecord is what an archive has before a file's contents. All files are root's, have one
// name, and no time.
type newcRecord struct {
	name         string
	mode         uint32 // type and permissions, as in stat(2)
	size         int64
	major, minor uint32 // of a device file
}

// directory adds a directory.
func (a *newcWriter) directory(name string) {
	a.add(newcRecord{name: name, mode: unix.S_IFDIR | 0o755}, nil)
}

// console adds the device that the kernel opens as the first process's standard files.
func (a *newcWriter) console(name string) {
	a.add(newcRecord{name: name, mode: unix.S_IFCHR | 0o600, major: 5, minor: 1}, nil)
}

// executable adds a file of size bytes.
func (a *newcWriter) executable(name string, contents io.Reader, size int64) {
	a.add(newcRecord{name: name, mode: unix.S_IFREG | 0o755, size: size}, contents)
}

// close ends the archive.
func (a *newcWriter) close() error {
	a.add(newcRecord{name: newcTrailer}, nil)
	return a.err
}

func (a *newcWriter) add(r newcRecord, contents io.Reader) {
	if a.err != nil {
		return
	}
	if r.size != int64(uint32(r.size)) {
		a.err = fmt.Errorf("%s: %d bytes do not fit an archive", r.name, r.size)
		return
	}
	const ino, uid, gid, links, mtime, devMajor, devMinor, check = 0, 0, 0, 1, 0, 0, 0, 0
	header := newcMagic
	for _, field := range [...]uint32{
		ino, r.mode, uid, gid, links, mtime, uint32(r.size), devMajor, devMinor, r.major, r.minor, uint32(len(r.name) + 1), check,
	} {
		header += fmt.Sprintf("%08X", field)
	}
	header += r.name + "\x00"
	a.write(header + newcPad(int64(len(header))))
	if contents == nil || a.err != nil {
		return
	}
	n, err := io.Copy(a.w, io.LimitReader(contents, r.size))
	if err == nil && n != r.size {
		err = io.ErrUnexpectedEOF
	}
	if a.err = err; err != nil {
		a.err = fmt.Errorf("%s: %w", r.name, err)
		return
	}
	a.write(newcPad(r.size))
}

func (a *newcWriter) write(s string) {
	if a.err == nil {
		_, a.err = io.WriteString(a.w, s)
	}
}

// newcPad is what n bytes are followed by.
func newcPad(n int64) string { return strings.Repeat("\x00", int(-n&(newcUnit-1))) }
