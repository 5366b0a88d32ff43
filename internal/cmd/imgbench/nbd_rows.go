package main

import "fmt"

// nbdRow is one line of the table of NBD servers.
type nbdRow struct {
	row
	command uint16
}

// nbdRows are the lines of the table of NBD servers: requests of one client to an
// image that govmm nbd or qemu-nbd serves.
func nbdRows() []nbdRow {
	var list []nbdRow
	for _, direct := range []bool{false, true} {
		for _, depth := range []int{1, 32} {
			where := map[bool]string{false: "cache", true: "direct"}[direct]
			add := func(name string, command uint16, r row) {
				r.name = fmt.Sprintf("nbd: %s, %s, depth %d", name, where, depth)
				r.direct, r.depth = direct, depth
				if r.step == 0 {
					r.step = r.size
				}
				if direct {
					r.count /= 2
				}
				if depth == 1 {
					r.count /= 4
				}
				list = append(list, nbdRow{r, command})
			}
			add("4k read", nbdRead, row{image: full, count: 120000, size: 4 * kib, step: scatter4K})
			add("4k write", nbdWrite, row{image: full, count: 80000, size: 4 * kib, step: scatter4K})
			add("4k fresh write", nbdWrite, row{image: empty, count: 16000, size: 4 * kib, step: 64 * kib, fresh: true})
			add("4k fresh write, scattered", nbdWrite, row{image: empty, count: 8000, size: 4 * kib, step: scatter64K, fresh: true})
			add("64k read", nbdRead, row{image: full, count: 32000, size: 64 * kib})
			add("64k write", nbdWrite, row{image: full, count: 16000, size: 64 * kib})
			add("1M read", nbdRead, row{image: full, count: 3000, size: mib})
			add("1M write", nbdWrite, row{image: full, count: 1500, size: mib})
			add("4k read of 2T, preallocated", nbdRead, row{image: huge, count: 60000, size: 4 * kib, step: scatterBig})
			add("4k read of 2T, sparse", nbdRead, row{image: sparse, count: 60000, size: 4 * kib, step: scatterSparse})
			add("4k read through a chain of 3", nbdRead, row{image: chain, count: 80000, size: 4 * kib, step: scatter4K})
			add("64k write of zeroes", nbdWriteZeroes, row{image: allocated, count: 16000, size: 64 * kib, fresh: true})
			add("64k trim", nbdTrim, row{image: allocated, count: 16000, size: 64 * kib, fresh: true})
			if !direct {
				for _, i := range []image{compressed, compressedZstd} {
					add("64k read, "+i.name, nbdRead, row{image: i, count: 8000, size: 64 * kib})
					add("4k read, "+i.name, nbdRead, row{image: i, count: 60000, size: 4 * kib})
				}
			}
		}
	}
	return list
}
