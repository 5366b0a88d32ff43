package megasas

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// NVRAM is where a card keeps what it must not forget when the power goes. Its
// methods are called one at a time.
type NVRAM interface {
	// Load returns what Save was given last, and nil if that never was.
	Load() ([]byte, error)
	// Save replaces the contents as a whole: after a crash at any moment they
	// are the old ones or the new ones.
	Save(p []byte) error
	// SetAside puts contents that cannot be used where a person can look at
	// them, and says where. There is nothing to load after it.
	SetAside() (where string, err error)
}

// NVRAMFile is an NVRAM in a file of its own, which need not exist yet. Each
// Save writes a new file beside it and renames that.
func NVRAMFile(path string) NVRAM { return nvramFile(path) }

type nvramFile string

// maxNVRAM is more than any contents are.
const maxNVRAM = 4 << 20

// Load implements NVRAM.
func (n nvramFile) Load() ([]byte, error) {
	f, err := os.Open(string(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", string(n))
	}
	p, err := io.ReadAll(io.LimitReader(f, maxNVRAM))
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = []byte{}
	}
	return p, nil
}

// Save implements NVRAM.
func (n nvramFile) Save(p []byte) (err error) {
	dir := filepath.Dir(string(n))
	f, err := os.CreateTemp(dir, filepath.Base(string(n))+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(p); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), string(n)); err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(dir))
}

// syncDir makes a rename in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SetAside implements NVRAM. A file that was set aside before is left alone.
func (n nvramFile) SetAside() (where string, err error) {
	for i := 1; ; i++ {
		where = fmt.Sprintf("%s.unreadable-%d", string(n), i)
		switch err := os.Link(string(n), where); {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return "", err
		}
		return where, os.Remove(string(n))
	}
}
