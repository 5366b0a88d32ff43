package qcow2

import (
	"encoding/binary"
	"fmt"
)

// scanReaders is how many clusters of metadata a check has in flight.
const scanReaders = 8

// scan reads the clusters at the given offsets, several at a time, and calls
// visit with each of them, in order. The buffer is visit's until it returns.
func scan(f File, size int64, offsets []int64, visit func(i int, buf []byte) error) error {
	type result struct {
		buf []byte
		err error
	}
	readers := min(scanReaders, len(offsets))
	results := make([]chan result, readers)
	stop := make(chan struct{})
	defer close(stop)
	for r := range readers {
		results[r] = make(chan result)
		go func() {
			// When the second buffer is taken, the first is free again.
			bufs := [2][]byte{make([]byte, size), make([]byte, size)}
			for i := r; i < len(offsets); i += readers {
				buf := bufs[i/readers%2]
				err := readFull(f, buf, offsets[i])
				select {
				case results[r] <- result{buf, err}:
				case <-stop:
					return
				}
			}
		}()
	}
	for i, off := range offsets {
		res := <-results[i%readers]
		if res.err != nil {
			return fmt.Errorf("read cluster %#x: %w", off, res.err)
		}
		if err := visit(i, res.buf); err != nil {
			return err
		}
	}
	return nil
}

// plainRun is the number of entries of an L2 table, from entry i on, that map
// consecutive host clusters inside the file, and are all a check wants them to
// be; 0 if that is not so for the first.
func (c *checker) plainRun(table []byte, i int64) int64 {
	e := loadEntry(table, i)
	host := int64(e & entryOffset)
	if e&^(entryOffset|entryCopied) != 0 || host == 0 || !c.g.aligned(host) || c.g.dataFile || c.g.entryBits != 3 {
		return 0
	}
	limit := min(c.end, int64(len(c.refs.dense))) - host>>c.g.clusterBits
	n := int64(0)
	rest := table[i*8:]
	for ; n < limit && len(rest) >= 8 && binary.BigEndian.Uint64(rest) == e; n++ {
		rest = rest[8:]
		e += uint64(c.g.clusterSize)
	}
	return n
}

// equalCounts reports whether a refcount block holds the given references, for
// the width of refcounts that nearly all images have.
func (c *checker) equalCounts(block []byte, refs []uint8) bool {
	if refs == nil || c.g.refcountOrder != 4 || len(block) != 2*len(refs) {
		return false
	}
	for i, n := range refs {
		if count := block[2*i : 2*i+2]; count[0] != 0 || count[1] != n || n == manyRefs {
			return false
		}
	}
	return true
}

// maxWrong is how many refcounts that differ from the references are kept.
const maxWrong = 1 << 20

// keepWrong records the refcount on disk of a cluster that has another number of
// references.
func (c *checker) keepWrong(cluster int64, count uint64) {
	if len(c.wrong) < maxWrong {
		c.wrong[cluster] = count
	} else {
		c.manyWrong = true
	}
}

// onDisk is the refcount of a cluster as the file has it. The block it is in is
// kept for the next.
func (c *checker) onDisk(cluster int64) uint64 {
	bi := cluster >> c.g.refBlockBits
	if !c.goodBlock(bi) {
		return 0
	}
	if c.block == nil || c.blockAt != int64(c.refTable[bi]) {
		buf := make([]byte, c.g.clusterSize)
		if err := readFull(c.f, buf, int64(c.refTable[bi])); err != nil {
			c.res.CheckErrors++
			c.report("Can't get refcount for cluster %d: %v", cluster, err)
			return 0
		}
		c.block, c.blockAt = buf, int64(c.refTable[bi])
	}
	return loadRefcount(c.block, cluster&(1<<c.g.refBlockBits-1), c.g.refcountOrder)
}
