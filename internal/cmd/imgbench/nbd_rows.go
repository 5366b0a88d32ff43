package main

import (
	"fmt"

	"github.com/govmm/govmm/internal/nbdproto"
)

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
			add := func(name string, command uint16, g goal, r row) {
				r.name = fmt.Sprintf("nbd: %s, %s, depth %d", name, where, depth)
				r.direct, r.depth, r.goal = direct, depth, g
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
			g := goalsOf(direct, depth)
			// Without tables to look up, requests are the same transfers of a raw file, in order
			// or not. Elsewhere the format is the work: there is nothing to compare with.
			add("4k read", nbdproto.CmdRead, g.read, row{image: full, count: 120000, size: 4 * kib, step: scatter4K, raw: true})
			add("4k write", nbdproto.CmdWrite, g.write, row{image: full, count: 80000, size: 4 * kib, step: scatter4K, raw: true})
			add("4k fresh write", nbdproto.CmdWrite, g.fresh, row{image: empty, count: 16000, size: 4 * kib, step: 64 * kib, fresh: true, raw: true})
			add("4k fresh write, scattered", nbdproto.CmdWrite, ahead, row{image: empty, count: 8000, size: 4 * kib, step: scatter64K, fresh: true})
			add("64k read", nbdproto.CmdRead, ahead, row{image: full, count: 32000, size: 64 * kib, raw: true})
			add("64k write", nbdproto.CmdWrite, ahead, row{image: full, count: 16000, size: 64 * kib, raw: true})
			add("1M read", nbdproto.CmdRead, large, row{image: full, count: 3000, size: mib, raw: true})
			add("1M write", nbdproto.CmdWrite, large, row{image: full, count: 1500, size: mib, raw: true})
			// Long enough for the caches of tables to be full.
			add("4k read of 2T, preallocated", nbdproto.CmdRead, g.misses, row{image: huge, count: 60000, size: 4 * kib, step: scatterBig, seconds: 1, tables: direct})
			add("4k read of 2T, sparse", nbdproto.CmdRead, g.misses, row{image: sparse, count: 60000, size: 4 * kib, step: scatterSparse, seconds: 1, tables: direct})
			add("4k read through a chain of 3", nbdproto.CmdRead, ahead, row{image: chain, count: 80000, size: 4 * kib, step: scatter4K})
			add("64k write of zeroes", nbdproto.CmdWriteZeroes, goal{3, 0.3}, row{image: allocated, count: 16000, size: 64 * kib, fresh: true})
			add("64k trim", nbdproto.CmdTrim, goal{2, 0.7}, row{image: allocated, count: 16000, size: 64 * kib, fresh: true})
			if !direct {
				for _, i := range []image{compressed, compressedZstd} {
					add("64k read, "+i.name, nbdproto.CmdRead, inflated, row{image: i, count: 8000, size: 64 * kib})
					add("4k read, "+i.name, nbdproto.CmdRead, inflated, row{image: i, count: 60000, size: 4 * kib})
				}
			}
		}
	}
	return list
}
