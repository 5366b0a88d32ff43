package memory

import (
	"sync/atomic"
	"unsafe"
)

// padding is the distance from the start of a mapping to its first huge page
// boundary. Only the address is looked at.
func padding(mapping []byte) uint64 {
	return -uint64(uintptr(unsafe.Pointer(&mapping[0]))) % hugePageSize
}

// words are the contents of a page, for who shares it with the guest.
func words(page []byte) *[pageSize / 8]atomic.Uint64 {
	return (*[pageSize / 8]atomic.Uint64)(unsafe.Pointer(&page[0]))
}

// load32 and store32 access a word that the guest may access at the same time.
// w has 4 bytes at an address that is a multiple of 4, because slots are page
// aligned on both sides. amd64 is little-endian, as guests are.

func load32(w []byte) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&w[0])))
}

func store32(w []byte, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&w[0])), v)
}
