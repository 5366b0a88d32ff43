package imgtool

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// copyBuffers returns count buffers of size bytes, side by side in huge pages if the host has
// any: with small ones, their faults take as long as all the data of a sparse disk.
func copyBuffers(count int, size int64) [][]byte {
	whole := (int64(count)*size + hugePage - 1) &^ (hugePage - 1)
	room := make([]byte, whole+hugePage) // what is not touched takes no memory
	// The address is looked at only: the memory is Go's, which moves none of it.
	skip := -int64(uintptr(unsafe.Pointer(unsafe.SliceData(room)))) & (hugePage - 1)
	room = room[skip : skip+whole]
	_ = unix.Madvise(room, unix.MADV_HUGEPAGE) // a host without them has small pages
	list := make([][]byte, count)
	for i := range list {
		list[i] = room[int64(i)*size:][:size:size]
	}
	return list
}
