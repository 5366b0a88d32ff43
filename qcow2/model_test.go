package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// config is a set of image options that the random tests run with.
type config struct {
	o       CreateOptions
	backing bool
}

func (c config) String() string {
	s := fmt.Sprintf("v%d,cluster=%d,refbits=%d,backing=%v,%v", c.o.Version, c.o.ClusterSize, c.o.RefcountBits, c.backing, c.o.Compression)
	if c.o.ExtendedL2 {
		s += ",extended"
	}
	if c.o.LazyRefcounts {
		s += ",lazy"
	}
	if c.o.DataFile != "" {
		s += fmt.Sprintf(",datafile,raw=%v", c.o.DataFileRaw)
	}
	if c.o.Encryption != nil {
		s += "," + c.o.Encryption.Method
	}
	return s
}

// configs covers cluster sizes, refcount widths and both versions.
func configs() []config {
	c := func(version int, cluster int64, bits int, backing bool) config {
		o := CreateOptions{Version: version, ClusterSize: cluster, RefcountBits: bits}
		// Enough for several L2 tables, but small enough to compare often.
		o.Size = min(3*cluster*cluster/8, 2*mib) + 3*sectorSize
		if backing {
			o.BackingFile, o.BackingFormat = "base", "raw"
		}
		return config{o, backing}
	}
	zstd := func(c config) config {
		c.o.Compression = CompressionZstd
		return c
	}
	extended := func(c config) config {
		c.o.ExtendedL2 = true
		return c
	}
	lazy := func(c config) config {
		c.o.LazyRefcounts = true
		return c
	}
	dataFile := func(c config, raw bool) config {
		c.o.DataFile, c.o.DataFileRaw = "data", raw
		return c
	}
	return []config{
		lazy(c(3, 1024, 16, true)),
		dataFile(c(3, 512, 16, true), false),
		c(3, 512, 64, true),
		c(3, 512, 1, false),
		c(2, 512, 16, false),
		c(2, 1024, 16, true),
		zstd(c(3, 1024, 2, true)),
		dataFile(c(3, 2048, 8, false), true),
		zstd(c(3, 4096, 32, true)),
		extended(c(3, 16384, 4, false)),
		dataFile(extended(c(3, 16384, 16, true)), false),
		zstd(c(3, 65536, 16, false)),
		extended(c(3, 65536, 16, true)),
		c(2, 65536, 16, true),
	}
}

// allConfigs are configs and an encrypted image.
func allConfigs() []config {
	e := &Encryption{Method: EncryptionAES, Secret: []byte("secret")}
	o := CreateOptions{Size: 100 * kib, ClusterSize: 1024, BackingFile: "base", BackingFormat: "raw", Encryption: e}
	return append(configs(), config{o, true})
}

// memBacking is a backing disk in memory.
type memBacking []byte

func (b memBacking) Size() int64 { return int64(len(b)) }
func (b memBacking) Close() error {
	return nil
}
func (b memBacking) ReadV(bufs [][]byte, off int64) error {
	for _, p := range bufs {
		if off+int64(len(p)) > int64(len(b)) {
			return fmt.Errorf("read of %d bytes at %d beyond the end", len(p), off)
		}
		off += int64(copy(p, b[off:]))
	}
	return nil
}

// disk is an image under test and a plain model of what it must hold.
type disk struct {
	t     testing.TB
	f     *memFile
	data  *memFile // external data file, nil without
	im    *Image
	model []byte
	base  memBacking
	opts  Options
}

func newDisk(t testing.TB, c config, rng *rand.Rand) *disk {
	t.Helper()
	d := &disk{t: t, f: new(memFile), model: make([]byte, c.o.Size)}
	if rng != nil && rng.IntN(2) == 0 {
		d.f.step = 16 * sectorSize
	}
	if c.backing {
		d.base = make(memBacking, c.o.Size*3/4/sectorSize*sectorSize) // shorter than the overlay
		for i := range d.base {
			d.base[i] = byte(rng.Uint32())
		}
		copy(d.model, d.base)
		d.opts.Backing = func(string, string) (Backing, error) { return d.base, nil }
	}
	if c.o.DataFile != "" {
		d.data = &memFile{main: d.f}
		c.o.Data = d.data
		d.opts.DataFile = func(string) (File, error) { d.data.closed = false; return d.data, nil }
	}
	if c.o.Encryption != nil {
		d.opts.Secret = secret(string(c.o.Encryption.Secret))
	}
	if err := Create(d.f, c.o); err != nil {
		t.Fatal(err)
	}
	d.open()
	return d
}

// secret returns what Options.Secret asks for.
func secret(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func (d *disk) open() {
	d.t.Helper()
	im, err := Open(d.f, d.opts)
	if err != nil {
		d.t.Fatalf("open: %v", err)
	}
	d.im = im
}

// reopen closes the image, checks that it is clean, and opens it again.
func (d *disk) reopen() {
	d.t.Helper()
	if err := d.im.Close(); err != nil {
		d.t.Fatalf("close: %v", err)
	}
	d.f = d.f.reopened()
	if d.data != nil {
		d.data = d.data.reopened()
		d.data.main = d.f
	}
	d.open()
	d.mustBeClean()
	if err := d.im.readsRaw(); err != nil {
		d.t.Fatal(err)
	}
}

// readsRaw compares the disk with an external data file that is to read alike.
func (im *Image) readsRaw() error {
	if !im.rawData() {
		return nil
	}
	disk, raw := make([]byte, im.Size()), make([]byte, im.Size())
	if err := errors.Join(readFull(im.data, raw, 0), im.ReadV([][]byte{disk}, 0)); err != nil {
		return err
	}
	if i := firstDifference(raw, disk); i >= 0 {
		return fmt.Errorf("byte %#x of the data file is %#02x, of the disk %#02x", i, raw[i], disk[i])
	}
	return nil
}

func (d *disk) mustBeClean() {
	d.t.Helper()
	res, err := d.im.Check(CheckOptions{Report: func(s string) { d.t.Log(s) }})
	if err != nil {
		d.t.Fatalf("check: %v", err)
	}
	if !res.Clean() {
		d.t.Fatalf("image is not clean: %+v", res)
	}
}

// compare reads the whole disk and holds it against the model.
func (d *disk) compare() {
	d.t.Helper()
	if err := compareWith(d.im, d.model); err != nil {
		d.t.Fatal(err)
	}
}

func compareWith(im *Image, model []byte) error {
	got := make([]byte, len(model))
	if err := im.ReadV([][]byte{got}, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if i := firstDifference(got, model); i >= 0 {
		return fmt.Errorf("byte %#x is %#02x, want %#02x", i, got[i], model[i])
	}
	for off, step := int64(0), max(im.g.clusterSize/2, sectorSize); off < int64(len(model)); off += step {
		want := model[off:min(off+step, int64(len(model)))]
		tried := make([]byte, len(want))
		if !im.TryReadV([][]byte{tried}, off) {
			continue
		}
		if i := firstDifference(tried, want); i >= 0 {
			return fmt.Errorf("TryReadV: byte %#x is %#02x, want %#02x", off+int64(i), tried[i], want[i])
		}
	}
	return nil
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// operation is one random request.
type operation struct {
	kind   string
	off, n int64
	fill   byte
}

func (op operation) String() string {
	return fmt.Sprintf("%s %#x+%#x (%#02x)", op.kind, op.off, op.n, op.fill)
}

// randomOperation makes requests that are mostly small, and often aligned to
// clusters or close to others.
func randomOperation(rng *rand.Rand, size, cluster int64) operation {
	kinds := []string{"write", "write", "write", "compress", "compress", "read", "zero", "unmap", "discard", "flush"}
	op := operation{kind: kinds[rng.IntN(len(kinds))], fill: byte(1 + rng.IntN(255))}
	op.off = rng.Int64N(size)
	op.n = 1 + rng.Int64N(min(size-op.off, 3*cluster))
	switch rng.IntN(4) {
	case 0:
		op.off &^= cluster - 1
		op.n = min(size-op.off, (op.n+cluster-1)&^(cluster-1))
	case 1:
		op.off &^= sectorSize - 1
		op.n = min(size-op.off, (op.n+sectorSize-1)&^(sectorSize-1))
	}
	return op
}

// vector splits p into pieces of random lengths, empty ones among them.
func vector(rng *rand.Rand, p []byte) [][]byte {
	var v [][]byte
	for len(p) > 0 {
		n := rng.IntN(len(p) + 1)
		v = append(v, p[:n])
		p = p[n:]
	}
	return v
}

// run applies an operation to an image.
func (op operation) run(im *Image, rng *rand.Rand) error {
	switch op.kind {
	case "write":
		p := pattern(op.fill, op.n)[0]
		if rng.IntN(2) == 0 && im.TryWriteV(vector(rng, p), op.off) {
			return nil
		}
		return im.WriteV(vector(rng, p), op.off)
	case "zero", "unmap":
		return im.WriteZeroes(op.off, op.n, op.kind == "unmap")
	case "discard":
		return im.Discard(op.off, op.n)
	case "compress":
		_, lo, hi := im.wholeClusters(op.off, op.n)
		switch {
		case lo >= hi:
			return nil
		case im.g.dataFile: // it can't have compressed clusters
			return im.WriteV([][]byte{squeezable(op.fill, hi-lo)}, lo)
		case im.encrypted():
			return im.WriteV(vector(rng, squeezable(op.fill, hi-lo)), lo)
		}
		return im.WriteCompressed(squeezable(op.fill, hi-lo), lo)
	case "flush":
		return im.Flush()
	}
	return im.ReadV(vector(rng, make([]byte, op.n)), op.off)
}

// apply does to the model what a successful operation does to the disk.
func (op operation) apply(im *Image, model []byte) {
	switch op.kind {
	case "write":
		copy(model[op.off:], pattern(op.fill, op.n)[0])
	case "compress":
		if _, lo, hi := im.wholeClusters(op.off, op.n); lo < hi {
			copy(model[lo:], squeezable(op.fill, hi-lo))
		}
	case "zero", "unmap":
		clear(model[op.off : op.off+op.n])
	case "discard":
		if _, lo, hi := im.wholeClusters(op.off, op.n); im.CanDiscard() && lo < hi {
			clear(model[lo:hi])
		}
	}
}

// TestRandomOperations holds images of many kinds against a plain model.
func TestRandomOperations(t *testing.T) {
	for i, c := range allConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			d := newDisk(t, c, rng)
			d.opts.L2CacheSize = 1 // the smallest there is: pages come and go
			d.opts.RefcountCacheSize = 1
			d.reopen()
			for step := range scale(300, 20000) {
				op := randomOperation(rng, c.o.Size, max(c.o.ClusterSize, 4096))
				if err := op.run(d.im, rng); err != nil {
					t.Fatalf("step %d, %v: %v", step, op, err)
				}
				op.apply(d.im, d.model)
				switch {
				case step%150 == 149:
					d.reopen()
					d.compare()
				case step%25 == 24:
					d.compare()
				}
			}
			d.mustBeClean()
			if err := d.im.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
