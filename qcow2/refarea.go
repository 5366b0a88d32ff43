package qcow2

import "fmt"

// refcountArea prepares refcounts for n more clusters at the end of the file: it
// puts all refcount blocks that are missing for them, and a new refcount table,
// behind the last cluster in use, as QEMU does; if spare is set only where one is
// missing. It returns the cluster behind these. None of the n is taken yet.
//
// Preconditions (as for all of this file): mu is held exclusively.
func (im *Image) refcountArea(n int64, spare bool) (int64, error) {
	g := &im.g
	last, err := im.lastUsed()
	if err != nil {
		return 0, err
	}
	start := last + 1
	blocks, clusters := g.refcountSize(start + n)
	perCluster := g.clusterSize / 8
	if clusters*g.clusterSize > maxRefTableBytes || (start+n+blocks+clusters)<<g.clusterBits > maxHostOffset {
		return 0, fmt.Errorf("%w: refcounts for %d more clusters", ErrTooLarge, n)
	}
	if spare && im.counted(start, n) {
		return start, nil
	}
	was := int64(len(im.refTable))
	clusters = max(clusters, was/perCluster)
	im.refTable = append(im.refTable, make([]uint64, clusters*perCluster-was)...)
	var added []int64
	next := start
	for bi := start >> g.refBlockBits; bi < blocks; bi++ {
		if !im.hasBlock(bi) {
			im.refTable[bi] = uint64(next << g.clusterBits)
			im.refs.insertTable(next<<g.clusterBits, g.clusterSize, nil)
			added = append(added, bi)
			next++
		}
	}
	table := next
	if err := im.take(start, table+clusters-start); err != nil {
		for _, bi := range added {
			im.refs.dropTable(int64(im.refTable[bi]), g.clusterSize)
			im.refTable[bi] = 0
		}
		im.refTable = im.refTable[:was]
		return 0, err
	}
	im.setMeta(start<<g.clusterBits, table-start, metaRefBlock)
	im.setMeta(table<<g.clusterBits, clusters, metaRefTable)
	im.release(int64(im.hdr.refTable)>>g.clusterBits, int64(im.hdr.refClusters), false)
	im.hdr.refTable, im.hdr.refClusters = uint64(table<<g.clusterBits), uint32(clusters)
	im.changes.refTable.move()
	im.alloc.end = max(im.alloc.end, (table+clusters)<<g.clusterBits)
	return table + clusters, nil
}

// counted reports whether there are refcounts for n clusters.
func (im *Image) counted(cluster, n int64) bool {
	for bi := cluster >> im.g.refBlockBits; bi<<im.g.refBlockBits < cluster+n; bi++ {
		if bi >= int64(len(im.refTable)) || !im.hasBlock(bi) {
			return false
		}
	}
	return true
}

// lastUsed is the last cluster with a refcount that is not 0.
func (im *Image) lastUsed() (int64, error) {
	for bi := int64(len(im.refTable)) - 1; bi >= 0; bi-- {
		if !im.hasBlock(bi) {
			continue
		}
		for c := (bi+1)<<im.g.refBlockBits - 1; c >= bi<<im.g.refBlockBits; {
			p, i, err := im.refPage(c)
			if err != nil {
				return 0, err
			}
			for ; i >= 0; i, c = i-1, c-1 {
				if loadRefcount(p.buf, i, im.g.refcountOrder) != 0 {
					return c, nil
				}
			}
		}
	}
	return 0, nil // the header
}

// refcountSize is how many refcount blocks, and clusters of a refcount table,
// it takes to count n clusters and themselves.
func (g *geometry) refcountSize(n int64) (blocks, table int64) {
	perBlock, perCluster := int64(1)<<g.refBlockBits, g.clusterSize/8
	for total := int64(-1); total != n+blocks+table; {
		total = n + blocks + table
		blocks = (total + perBlock - 1) / perBlock
		table = (blocks + perCluster - 1) / perCluster
	}
	return blocks, table
}
