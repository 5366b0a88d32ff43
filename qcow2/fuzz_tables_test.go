package qcow2

import (
	"encoding/binary"
	"testing"
)

// tableImage is a small image with data, a snapshot and more data, and where its
// tables are.
func tableImage(f testing.TB, o CreateOptions) (img []byte, tables map[string]int64) {
	f.Helper()
	m := newImage(f, o)
	im, err := Open(m, Options{})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "one"}); err != nil {
		f.Fatal(err)
	}
	if err := im.WriteV(pattern(3, o.ClusterSize*3), o.ClusterSize); err != nil {
		f.Fatal(err)
	}
	if _, err := im.CreateSnapshot(SnapshotOptions{Name: "two"}); err != nil {
		f.Fatal(err)
	}
	if err := im.Close(); err != nil {
		f.Fatal(err)
	}
	m = m.reopened()
	h, err := readHeader(m)
	if err != nil {
		f.Fatal(err)
	}
	return m.data, map[string]int64{
		"L1": int64(h.l1Offset), "L2": int64(m.get64(int64(h.l1Offset)) & entryOffset),
		"refcount table": int64(h.refTable), "refcount block": int64(m.get64(int64(h.refTable))), "snapshots": int64(h.snapshots),
	}
}

// fuzzAt has the fuzzer overwrite one place of an image with anything, and does
// everything with the image.
func fuzzAt(f *testing.F, seeds [][]byte, tables ...string) {
	f.Helper()
	type start struct {
		img    []byte
		places map[string]int64
	}
	var starts []start
	for _, o := range []CreateOptions{
		{Size: 64 * kib, ClusterSize: 512},
		{Size: 64 * kib, ClusterSize: 512, Version: 2},
		{Size: 32 * kib, ClusterSize: 1024, RefcountBits: 64, LazyRefcounts: true},
		{Size: 32 * kib, ClusterSize: 512, RefcountBits: 2},
	} {
		img, places := tableImage(f, o)
		starts = append(starts, start{img, places})
	}
	for i := range starts {
		for j := range tables {
			for _, seed := range seeds {
				f.Add(uint8(i), uint8(j), uint16(0), seed)
				f.Add(uint8(i), uint8(j), uint16(8), seed)
			}
		}
	}
	f.Fuzz(func(t *testing.T, image, table uint8, off uint16, data []byte) {
		s := starts[int(image)%len(starts)]
		m := &limitedFile{memFile{data: append([]byte(nil), s.img...)}}
		at := s.places[tables[int(table)%len(tables)]] + int64(off)%512
		copy(m.data[min(at, int64(len(m.data))):], data)
		exercise(t, m)
	})
}

// words is some big-endian 64-bit words.
func words(list ...uint64) []byte {
	var b []byte
	for _, v := range list {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// FuzzTables overwrites L1 and L2 tables.
func FuzzTables(f *testing.F) {
	fuzzAt(f, [][]byte{
		words(0x400 | entryCopied), words(0xffffffffffffffff, 0xffffffffffffffff), words(0xbfffffffffff0000), words(0x200),
		words(entryCompressed|0x400, entryCompressed|1<<61), words(entryZero, entryZero|0x600|entryCopied), words(1<<55, 0x7f<<56),
	}, "L1", "L2")
}

// FuzzRefcounts overwrites the refcount table and a refcount block.
func FuzzRefcounts(f *testing.F) {
	fuzzAt(f, [][]byte{
		words(0), words(0x200), words(0x400, 0x400), words(0xffffffffffffffff), words(0x10001000100010), make([]byte, 64), words(1 << 63), words(0x600, 0x201),
	}, "refcount table", "refcount block")
}

// FuzzSnapshots overwrites the snapshot table.
func FuzzSnapshots(f *testing.F) {
	entry := func(l1 uint64, n uint32, id, name uint16, extra uint32) []byte {
		b := binary.BigEndian.AppendUint64(nil, l1)
		b = binary.BigEndian.AppendUint32(b, n)
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint16(b, name)
		b = append(b, make([]byte, 20)...)
		return binary.BigEndian.AppendUint32(b, extra)
	}
	fuzzAt(f, [][]byte{
		entry(0x600, 1, 1, 3, 24), entry(0x600, 1<<31, 0, 0, 0), entry(0x601, 1, 0, 0, 16), entry(1<<63, 4, 0xffff, 0xffff, 1024),
		entry(0x600, 3, 1, 1, 1<<32-1), entry(0x200, 64, 1, 1, 24), entry(0, 0, 0, 0, 0),
	}, "snapshots")
}
