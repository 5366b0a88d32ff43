package main

import "strings"

// tasks are the lines of the second table.
func tasks() []task {
	var list []task
	add := func(name string, g goal, files fileSet, line string, more ...func(*task)) {
		t := task{name: name, files: files, args: strings.Fields(line), goal: g}
		for _, f := range more {
			f(&t)
		}
		list = append(list, t)
	}
	// A whole disk is copied as fast as the host copies it.
	copies := map[string]goal{"full": level, "sparse": ahead}
	twice, thrice, starts := goal{ratio: 2}, goal{ratio: 3}, goal{ratio: 1.5}
	makesOut := func(t *task) { t.makes = "out" }
	changes := func(t *task) { t.changes = true }
	times := func(n int) func(*task) { return func(t *task) { t.repeat = n } }

	for _, kind := range []string{"full", "sparse"} {
		files := map[string]fileSet{"full": fullFiles, "sparse": sparseFiles}[kind]
		add("convert raw to qcow2, "+kind, copies[kind], files, "convert -f raw -O qcow2 raw out", makesOut)
		add("convert qcow2 to raw, "+kind, copies[kind], files, "convert -f qcow2 -O raw qcow2 out", makesOut)
		add("convert qcow2 to qcow2, "+kind, copies[kind], files, "convert -f qcow2 -O qcow2 qcow2 out", makesOut)
		add("compare, "+kind, ahead, files, "compare -f raw -F qcow2 raw qcow2")
	}
	add("convert -c, zlib", goal{ratio: 2.5}, textFiles, "convert -c -f raw -O qcow2 raw out", makesOut)
	add("convert -c, zstd", level, textFiles, "convert -c -f raw -O qcow2 -o compression_type=zstd raw out", makesOut)
	add("convert from zlib", ahead, textFiles, "convert -f qcow2 -O raw zlib out", makesOut)
	add("convert from zstd", level, textFiles, "convert -f qcow2 -O raw zstd out", makesOut)
	add("check, 1M clusters", twice, allocated64G, "check -f qcow2 disk")
	add("check, 32M clusters", twice, allocated2T, "check -f qcow2 disk")
	add("check, scattered over 2T", twice, scattered2T, "check -f qcow2 disk")
	add("snapshot -c, 64G", twice, allocated64G, "snapshot -c new disk", changes)
	add("snapshot -a, 64G", twice, snapshots64G, "snapshot -a old disk", changes)
	add("snapshot -d, 64G", twice, snapshots64G, "snapshot -d old disk", changes)
	add("create, metadata of 1T", thrice, nothing, "create -q -f qcow2 -o preallocation=metadata out 1T", makesOut)
	add("map, 2T in one piece", thrice, allocated2T, "map --output=json -f qcow2 disk")
	add("map, 2T scattered", thrice, scattered2T, "map --output=json -f qcow2 disk")
	add("measure, 2T scattered", ahead, scattered2T, "measure -f qcow2 -O qcow2 disk")
	add("commit", ahead, overlayFiles, "commit -q -f qcow2 -d top", changes)
	add("rebase", ahead, overlayFiles, "rebase -f qcow2 -F qcow2 -b other top", changes)
	add("info", starts, allocated64G, "info -f qcow2 disk", times(20))
	add("create", starts, nothing, "create -q -f qcow2 out 64G", times(20), makesOut)
	return list
}
