package main

import (
	"fmt"
	"strconv"
)

// row is one line of the table: an image, and requests to it.
type row struct {
	name   string
	image  image
	direct bool // past the page cache
	write  bool
	fresh  bool // each run has an image of its own
	count  int  // at most
	depth  int
	size   int64 // of a request, in bytes
	step   int64 // in bytes; the size of the disk is no multiple of it
	raw    bool  // a raw file can take the same transfers
	tables bool  // tables come from the disk as well: of a raw file, as many transfers are made as the disk is asked for

	seconds float64 // that a run takes at QEMU's side; 0: runTime
	goal    goal
}

// args are what both programs are called with, the file and the way of I/O
// aside.
func (r *row) args() []string {
	cache := "writeback"
	if r.direct {
		cache = "none"
	}
	args := []string{"bench", "-f", "qcow2", "-t", cache, "-c", strconv.Itoa(r.count), "-d", strconv.Itoa(r.depth),
		"-s", fmt.Sprint(r.size), "-S", fmt.Sprint(r.step)}
	if r.write {
		args = append(args, "-w")
	}
	return args
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// Steps that scatter requests over a disk: about 0.618 of 1 GiB and of 2 GiB,
// odd multiples of the request.
const (
	scatter4K  = 161999 * 4 * kib
	scatter64K = 10125 * 64 * kib
	scatterBig = 331777 * 4 * kib

	stepSparse    = 32 * mib
	scatterSparse = 40503 * stepSparse
)

// rows are the lines of the table.
func rows() []row {
	var list []row
	for _, direct := range []bool{false, true} {
		for _, depth := range []int{1, 64} {
			where := map[bool]string{false: "cache", true: "direct"}[direct]
			add := func(name string, r row) {
				r.name = fmt.Sprintf("%s, %s, depth %d", name, where, depth)
				r.direct, r.depth = direct, depth
				r.goal = ahead
				if r.step == 0 {
					r.step = r.size
				}
				if direct {
					r.count /= 4
				}
				if depth == 1 {
					r.count /= 2
				}
				list = append(list, r)
			}
			add("4k read", row{image: full, count: 400000, size: 4 * kib, step: scatter4K})
			add("4k overwrite", row{image: full, count: 100000, size: 4 * kib, step: scatter4K, write: true})
			add("4k fresh write", row{image: empty, count: 60000, size: 4 * kib, step: 64 * kib, write: true, fresh: true})
			add("4k fresh write, scattered", row{image: empty, count: 16000, size: 4 * kib, step: scatter64K, write: true, fresh: true})
			add("4k sequential fresh write", row{image: empty, count: 100000, size: 4 * kib, write: true, fresh: true})
			add("64k read", row{image: full, count: 60000, size: 64 * kib})
			add("64k overwrite", row{image: full, count: 16000, size: 64 * kib, write: true})
			add("64k fresh write", row{image: empty, count: 16000, size: 64 * kib, write: true, fresh: true})
			add("1M read", row{image: full, count: 6000, size: mib})
			add("1M overwrite", row{image: full, count: 2000, size: mib, write: true})
			add("4k read of 2T", row{image: huge, count: 100000, size: 4 * kib, step: scatterBig})
			add("4k read through a chain of 3", row{image: chain, count: 200000, size: 4 * kib, step: scatter4K})
			add("4k read of zeroes", row{image: zero, count: 400000, size: 4 * kib, step: scatter4K})
			if !direct {
				add("64k read, compressed", row{image: compressed, count: 8000, size: 64 * kib})
				add("4k read, compressed", row{image: compressed, count: 30000, size: 4 * kib})
			}
		}
	}
	return list
}
