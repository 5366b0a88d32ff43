package memory

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// poolFlags are those of memfd_create for pages of a pool. The size is given by its
// logarithm.
func poolFlags(page uint64) int {
	switch page {
	case 0:
		return 0
	case 1 << 30:
		return unix.MFD_HUGETLB | unix.MFD_HUGE_1GB
	}
	return unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
}

// poolError says what was missing if memory was to come from a pool.
func poolError(page uint64, n int, err error) error {
	if page == 0 {
		return err
	}
	kib := page >> 10
	free := "no"
	if text, e := os.ReadFile(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/free_hugepages", kib)); e == nil {
		free = strings.TrimSpace(string(text))
	}
	return fmt.Errorf("%d huge pages of %d KiB are needed, the host has %s free (see /sys/kernel/mm/hugepages): %w", uint64(n)/page, kib, free, err)
}
