// Package qcow2 reads and writes disk images in QEMU's qcow2 format, versions 2
// and 3, after the format's specification (docs/interop/qcow2.txt of QEMU).
//
// Built are clusters of 512 bytes to 2 MiB, refcounts of 1 to 64 bits, plain,
// zero, unallocated and compressed clusters (deflate and zstd, read and written),
// backing files, discard, a consistency check with repair, and internal snapshots
// of the disk, which are created, applied and deleted while the image is in use.
// A snapshot may hold the state of a machine. Images can be resized, amended,
// mapped, committed and put on other backing files. Persistent dirty
// bitmaps are loaded, maintained and stored. Guest data may be in an external data
// file, which the caller of Open decides about. It may be encrypted, by LUKS1 (see
// package luks) or by the AES of old images. Clusters may have subclusters
// (extended L2 entries), and be allocated in advance.
//
// # Concurrency
//
// All methods of Image may be called from any number of goroutines. A request
// holds no lock while it moves data:
//
//   - Image.mu guards the mapping: held shared to look a range up, exclusively
//     to change it. Metadata that the L2 cache lacks is read with mu released.
//   - A write that needs new clusters reserves them under mu, writes without it,
//     and links them into the L2 table under mu again. Meanwhile it stands in
//     the in-flight list; a request for the same guest clusters waits for it,
//     any other passes.
//   - A read of several compressed clusters decompresses them on several
//     goroutines, no more of them in an image than there are cores.
//   - Reads of compressed clusters in order, one at a time, have the next ones
//     decompressed ahead, by one goroutine of the image and by those that would
//     have to wait for it. It is in an epoch for each cluster, so that what it
//     looked up is not used for something else; an error is left to who reads
//     the cluster. Close waits for it.
//   - Flushes that arrive while one is running share the next one.
//   - Check, Resize, Amend, and operations on snapshots wait until the requests
//     that are running have ended, and new ones wait for them.
//
// Lock order: commitMu, reclaimMu, then mu. The mutexes of gate, joiner, aside,
// the decoded-cluster cache and OSFile are leaves: nothing is locked under them.
// Under that of readAhead only the cache's is taken.
//
// Files are read and written by system calls in the goroutine that asks: what is
// in the page cache of the host costs least so. Files opened with O_DIRECT use
// io_uring where there is more than one transfer at a time, so that waiting for
// the disk takes no threads; the ring's mutex is a leaf. Who has many transfers at
// a time can start them and be told of their ends (Starter). A request that was
// started stands in the in-flight list if it fills new clusters. It
// holds its epoch until then like any other, and no lock that others wait
// for but the share of blocks that writes of parts of blocks exclude.
// What was spliced (Splicer) holds its epoch likewise, until it is released.
//
// What is read into a pipe (PipeReader) has pages of its own, and holds nothing. What is
// written from one (PipeWriter) is a request like any other, of whole new clusters or in place.
//
// Files with direct I/O are made longer in large steps, with storage set aside, since
// hosts do writes beyond the end one at a time. Close cuts off what was not needed;
// after a crash it is there, and belongs to nothing.
//
// # Durability
//
// Metadata changes collect in memory until a commit (Flush, Close, or too many
// of them) writes them in an order that keeps the image consistent at every
// moment. Each step begins after an fdatasync has made the earlier ones durable,
// and steps with nothing to write cost nothing:
//
//  1. guest data (already written), refcount blocks, tables that nothing on
//     disk refers to yet;
//  2. references to refcount blocks: the refcount table or, if it moved, the
//     header;
//  3. references to data and L2 tables: L2 entries, L1 entries or, if the L1
//     table moved, the header.
//
// An external data file is synced before the image's own file in each step that
// refers to data. What is discarded there is gone at once, while the guest's
// clusters are held: they are the only ones that can be mapped to that place.
//
// Compressed clusters follow the same steps. They share host clusters: one that
// is added only raises the refcount and touches no byte of its neighbours.
//
// So an overwrite in place costs one fdatasync and a fresh allocation two, each
// shared by all requests that flush at the same time.
//
// A cluster that lost its last reference goes a longer way back: its refcount
// drops, and it may be handed out again, only after the commit that removed the
// reference, after every request that might have looked the reference up has
// ended (epochs), and after its hole is punched. A crash on the way leaks it,
// and nothing worse. A commit that fails leaves everything it tried to write
// dirty, so that the next one tries again.
//
// The contents of bitmaps live in memory. A writable open marks those on disk as
// being in use, durably and before anything else is written; Close stores them
// in new clusters and switches the header to a directory that names these. So a
// bitmap that counts after a crash has all that was written, and a writer that
// did not get to Close leaves only inconsistent ones.
//
// With lazy refcounts, refcounts are written when the image is closed, when an
// operation needs all of them on disk, and when many have collected. Meanwhile
// the header has the dirty bit, and a crash leaves refcounts to be rebuilt by the
// next writable open.
//
// An operation on snapshots changes refcounts, COPIED flags, L1 table, snapshot
// table and disk size together; so does a cut of the disk, or another width of
// refcounts. It writes all that is new to free clusters and
// syncs; then one write to the header's first sector switches to it, and the
// change is done or, after a crash before, has not begun. Free clusters must
// hold the refcount blocks and L2 tables twice meanwhile, and the time it takes
// grows with them: some milliseconds per GiB of data in 64 KiB clusters.
package qcow2
