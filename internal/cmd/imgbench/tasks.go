package main

import "strings"

// tasks are the lines of the second table.
func tasks() []task {
	var list []task
	add := func(name string, files fileSet, line string, more ...func(*task)) {
		t := task{name: name, files: files, args: strings.Fields(line)}
		for _, f := range more {
			f(&t)
		}
		list = append(list, t)
	}
	makesOut := func(t *task) { t.makes = "out" }
	changes := func(t *task) { t.changes = true }
	times := func(n int) func(*task) { return func(t *task) { t.repeat = n } }

	for _, kind := range []string{"full", "sparse"} {
		files := map[string]fileSet{"full": fullFiles, "sparse": sparseFiles}[kind]
		add("convert raw to qcow2, "+kind, files, "convert -f raw -O qcow2 raw out", makesOut)
		add("convert qcow2 to raw, "+kind, files, "convert -f qcow2 -O raw qcow2 out", makesOut)
		add("convert qcow2 to qcow2, "+kind, files, "convert -f qcow2 -O qcow2 qcow2 out", makesOut)
		add("compare, "+kind, files, "compare -f raw -F qcow2 raw qcow2")
	}
	add("convert -c, zlib", textFiles, "convert -c -f raw -O qcow2 raw out", makesOut)
	add("convert -c, zstd", textFiles, "convert -c -f raw -O qcow2 -o compression_type=zstd raw out", makesOut)
	add("convert from zlib", textFiles, "convert -f qcow2 -O raw zlib out", makesOut)
	add("convert from zstd", textFiles, "convert -f qcow2 -O raw zstd out", makesOut)
	add("check, 1M clusters", allocated64G, "check -f qcow2 disk")
	add("check, 32M clusters", allocated2T, "check -f qcow2 disk")
	add("check, scattered over 2T", scattered2T, "check -f qcow2 disk")
	add("snapshot -c, 64G", allocated64G, "snapshot -c new disk", changes)
	add("snapshot -a, 64G", snapshots64G, "snapshot -a old disk", changes)
	add("snapshot -d, 64G", snapshots64G, "snapshot -d old disk", changes)
	add("create, metadata of 1T", nothing, "create -q -f qcow2 -o preallocation=metadata out 1T", makesOut)
	add("map, 2T in one piece", allocated2T, "map --output=json -f qcow2 disk")
	add("map, 2T scattered", scattered2T, "map --output=json -f qcow2 disk")
	add("measure, 2T scattered", scattered2T, "measure -f qcow2 -O qcow2 disk")
	add("commit", overlayFiles, "commit -q -f qcow2 -d top", changes)
	add("rebase", overlayFiles, "rebase -f qcow2 -F qcow2 -b other top", changes)
	add("info", allocated64G, "info -f qcow2 disk", times(20))
	add("create", nothing, "create -q -f qcow2 out 64G", times(20), makesOut)
	return list
}
