package block

import (
	"math"
	"os"
	"syscall"

	"github.com/govmm/govmm/qcow2"
)

// DriverAny is the FileDriver for whatever can hold a disk, in QEMU's words.
const DriverAny = "any"

// checkKind refuses a file that is not what a driver of QEMU is for. A file that is not
// there is left to who opens it, and "" all that is.
func checkKind(path, driver string, readOnly bool) error {
	st, err := os.Stat(path)
	if driver == "" || err != nil {
		return nil
	}
	switch mode := st.Mode(); {
	case mode.IsDir() && !readOnly:
		return &os.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	case driver == DriverAny && mode.IsDir(), driver == "file" && !mode.IsRegular():
		return optionErrorf("'file' driver requires '%s' to be a regular file", path)
	case driver != DriverAny && driver != "file" && mode&os.ModeDevice == 0:
		return optionErrorf("'%s' driver requires '%s' to be either a character or block device", driver, path)
	}
	return nil
}

// CheckImage refuses an image that is encrypted in another way than EncryptFormat says, and sizes
// of caches that QEMU can't have for it. Here they are bounds.
func (s *Spec) CheckImage(im *qcow2.Image) error {
	info := im.Info()
	if want := s.EncryptFormat; want != "" {
		if info.Encryption == nil {
			return optionErrorf("No encryption in image header, but options specified format '%s'", want)
		}
		has := "aes"
		if info.Encryption.Method == qcow2.EncryptionLUKS {
			has = "luks"
		}
		if has != want {
			return optionErrorf("Header reported '%s' encryption format but options specify '%s'", has, want)
		}
	}
	entry := s.L2EntrySize
	if n, most := entry, info.ClusterSize; n != 0 && (n < sectorSize || n > most || n&(n-1) != 0) {
		return optionErrorf("L2 cache entry size must be a power of two between %d and the cluster size (%d)", sectorSize, most)
	}
	if entry == 0 {
		entry = info.ClusterSize
	}
	word := int64(8)
	if info.ExtendedL2 {
		word = 16
	}
	tables := (info.Size + info.ClusterSize - 1) / info.ClusterSize * word // all there are
	switch {
	case min(tables, s.L2CacheSize)/entry > math.MaxInt32:
		return optionErrorf("L2 cache size too big")
	case s.RefcountCacheSize/info.ClusterSize > math.MaxInt32:
		return optionErrorf("Refcount cache size too big")
	}
	return nil
}
