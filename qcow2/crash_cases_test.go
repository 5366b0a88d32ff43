package qcow2

import (
	"math/rand/v2"
	"testing"
)

// TestCrashCases enumerates all crash states of short runs, each of which needs
// one ordering rule: every prefix of what was written, with every subset of
// what was not synced.
func TestCrashCases(t *testing.T) {
	const cs = 512         // cluster size
	const l2 = cs / 8 * cs // bytes that one L2 table maps
	const block = cs / 2   // clusters that one refcount block counts (16 bit)
	const table = 64 * 64  // clusters that a refcount table of one cluster counts (64 bit)
	flush := operation{kind: "flush"}
	tests := []struct {
		name   string
		before []operation // clean and closed when recording begins
		ops    []operation
		width  int // of refcounts; 0: the default
	}{
		{name: "fresh cluster",
			ops: []operation{{"write", 100, 50, 1}, flush}},
		{name: "overwrite in place",
			before: []operation{{"write", 0, cs, 1}},
			ops:    []operation{{"write", 0, cs, 2}, flush}},
		{name: "kept zero cluster does not show what it held",
			before: []operation{{"write", 0, cs, 1}, {"zero", 0, cs, 0}},
			ops:    []operation{{"write", 0, cs, 2}, flush}},
		{name: "kept zero cluster, written in part",
			before: []operation{{"write", 0, 2 * cs, 1}, {"zero", 0, 2 * cs, 0}},
			ops:    []operation{{"write", 10, cs, 2}, flush}},
		{name: "freed cluster becomes data",
			before: []operation{{"write", 0, 8 * cs, 0xff}, {"discard", 0, 8 * cs, 0}},
			ops:    []operation{{"write", 20 * cs, 100, 2}, flush}},
		{name: "freed clusters become an L2 table",
			before: []operation{{"write", 0, 8 * cs, 0xff}, {"discard", 0, 8 * cs, 0}},
			ops:    []operation{{"write", l2, 100, 2}, {"write", 3 * l2, 100, 3}, flush}},
		{name: "discarded and used again in one session",
			ops: []operation{{"write", 0, 4 * cs, 0xff}, flush, {"discard", 0, 4 * cs, 0}, {"write", l2, cs, 2}, flush,
				{"write", 2 * l2, cs, 3}, flush}},
		{name: "compressed clusters share a host cluster",
			ops: []operation{{"compress", 0, cs, 3}, flush, {"compress", cs, 2 * cs, 7}, flush}},
		{name: "a compressed cluster replaces data and is replaced",
			before: []operation{{"write", 0, 2 * cs, 1}},
			ops:    []operation{{"compress", 0, 2 * cs, 2}, flush, {"write", 100, 10, 3}, flush}},
		{name: "the host cluster of compressed ones is freed and filled again",
			before: []operation{{"compress", 0, 3 * cs, 3}},
			ops:    []operation{{"compress", 3 * cs, cs, 7}, {"discard", 0, 4 * cs, 0}, flush, {"compress", 4 * cs, 3 * cs, 2}, flush}},
		{name: "a refcount block is added",
			ops: []operation{{"write", 0, (block + 20) * cs, 1}, flush}},
		{name: "a refcount block in a freed cluster",
			before: []operation{{"write", 0, (block - 20) * cs, 0xff}, {"discard", 0, cs, 0}},
			ops:    []operation{{"write", (block - 20) * cs, 40 * cs, 2}, flush}},
		{name: "the refcount table grows",
			before: []operation{{"write", 0, (table - 170) * cs, 0xff}, {"discard", 0, 4 * cs, 0}},
			ops:    []operation{{"write", (table - 170) * cs, 80 * cs, 2}, flush, {"write", 0, cs, 3}, flush},
			width:  64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			c := config{o: CreateOptions{Size: 8 * l2, ClusterSize: cs, RefcountBits: tt.width}}
			most := 7
			if tt.width != 0 {
				c.o.Size = (table - 60) * cs
				most = 2 // these take longer
			}
			if raceDetector {
				most = 0
			}
			d := newDisk(t, c, rng)
			d.f.noPunch = true // so that freed clusters are full of traps
			for _, op := range tt.before {
				if err := op.run(d.im, rng); err != nil {
					t.Fatal(err)
				}
				op.apply(d.im, d.model)
			}
			d.reopen()
			h := d.record(rng, tt.ops)
			if grew := d.im.hdr.refClusters > 1; grew != (tt.width != 0) {
				t.Fatalf("the refcount table has %d clusters", d.im.hdr.refClusters)
			}
			states := 0
			for n := range len(h.log) + 1 {
				for _, keep := range subsets(h.log[:n], most, rng) {
					states++
					if err := h.survives(n, crash(h.base, h.log, n, keep), d.opts); err != nil {
						t.Fatalf("crash after %d of %v: %v", n, h.log, err)
					}
				}
			}
			t.Logf("%d crash states", states)
		})
	}
}

// subsets returns keep functions for crash: all subsets of what log did since
// its last sync, or a sample of them if they are too many, and some torn ones.
func subsets(log []fileOp, most int, rng *rand.Rand) []func() int {
	open := 0
	for _, op := range log {
		switch op.kind {
		case opSync:
			open = 0
		case opMark:
		default:
			open++
		}
	}
	var keeps []func() int
	if open <= most {
		for set := range 1 << open {
			i := 0
			keeps = append(keeps, func() int {
				i++
				return set >> (i - 1) & 1
			})
		}
	} else {
		keeps = append(keeps, inOrder)
		for range 1 << most {
			keeps = append(keeps, randomly(rng))
		}
	}
	for range (most + 1) / 2 {
		keeps = append(keeps, randomly(rng))
	}
	return keeps
}
