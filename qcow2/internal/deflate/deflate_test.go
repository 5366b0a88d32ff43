package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// inputs are of all kinds that the encoder has a case for.
func inputs() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var text strings.Builder
	for text.Len() < 200000 {
		fmt.Fprintf(&text, "%d: the quick brown fox %x\n", rng.IntN(1000), rng.IntN(50))
	}
	skewed := make([]byte, 100000) // Fibonacci's frequencies make the longest codes
	for i := range skewed {
		k := 0
		for rng.IntN(2) == 0 && k < 200 {
			k++
		}
		skewed[i] = byte(k)
	}
	return map[string][]byte{
		"nothing":        {},
		"a byte":         {7},
		"two":            {7, 7},
		"three":          {1, 2, 3},
		"zeroes":         make([]byte, 65536),
		"many zeroes":    make([]byte, 2<<20),
		"random":         random(65536),
		"mostly random":  append(random(200000), make([]byte, 200000)...),
		"text":           []byte(text.String()),
		"skewed":         skewed,
		"period 4096":    bytes.Repeat(random(4096), 16),
		"period 4097":    bytes.Repeat(random(4097), 16),
		"short periods":  bytes.Repeat([]byte("ab"), 5000),
		"bits":           bytes.Map(func(r rune) rune { return r & 1 }, bytes.Repeat([]byte("0111010011"), 9999)),
		"random letters": bytes.Map(func(r rune) rune { return 'a' + r&15 }, []byte(fmt.Sprintf("%x", random(100000)))),
	}
}

// inflate is what a stream says.
func inflate(t testing.TB, p []byte) []byte {
	t.Helper()
	got, err := io.ReadAll(flate.NewReader(bytes.NewReader(p)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestEncode compresses, and has another implementation read it.
func TestEncode(t *testing.T) {
	var e Encoder
	for name, src := range inputs() {
		for _, n := range []int{len(src), len(src) / 2, len(src) / 3} {
			src := src[:n]
			p := e.Encode(make([]byte, 0, n+n/8+64), src)
			if p == nil {
				t.Fatalf("%s, %d bytes: no room", name, n)
			}
			if !bytes.Equal(inflate(t, p), src) {
				t.Fatalf("%s, %d bytes: others are in the stream", name, n)
			}
			if most := n + 5*(n/maxTokens+1) + 8; len(p) > most {
				t.Errorf("%s: %d bytes became %d", name, n, len(p))
			}
			for _, room := range []int{0, 1, len(p) / 2, len(p) - 1} {
				if short := e.Encode(make([]byte, 0, room), src); short != nil {
					t.Errorf("%s, %d bytes: %d of %d were enough", name, n, room, len(p))
				}
			}
		}
	}
}

// TestWindow finds that no match refers back further than the window.
func TestWindow(t *testing.T) {
	var e Encoder
	for _, src := range inputs() {
		clear(e.head[:])
		clear(e.short[:])
		for pos := 0; pos+lookahead <= len(src); pos++ {
			candidate, short := e.insert(src, pos)
			length, dist := e.longest(src, pos, candidate, short, 0)
			if length == 0 {
				continue
			}
			if length < minMatch || length > maxMatch || dist < 1 || dist > Window || dist > pos {
				t.Fatalf("a match of %d bytes %d bytes back at %d", length, dist, pos)
			}
			if !bytes.Equal(src[pos:pos+length], src[pos-dist:][:length]) {
				t.Fatalf("at %d: others are %d bytes back", pos, dist)
			}
		}
	}
}

// TestLengths makes codes for every kind of frequencies: they are complete, and none is
// too long.
func TestLengths(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var h huffman
	for round := range 2000 {
		n := 2 + rng.IntN(numLiterals-1)
		counts := make([]uint32, n)
		for i := range counts {
			switch round % 4 {
			case 0:
				counts[i] = uint32(rng.IntN(3))
			case 1:
				counts[i] = 1 << min(i, 28)
			case 2:
				counts[i] = rng.Uint32N(1 << (1 + rng.IntN(20)))
			}
		}
		for _, limit := range []int{maxBits, 9} {
			out := make([]uint8, n)
			h.lengths(out, counts, limit)
			sum := 0
			for i, l := range out {
				if counts[i] > 0 && l == 0 || int(l) > limit {
					t.Fatalf("symbol %d comes %d times, and has %d bits", i, counts[i], l)
				}
				if l > 0 {
					sum += 1 << (limit - int(l))
				}
			}
			if sum != 1<<limit {
				t.Fatalf("the code is not complete: %v of %v", out, counts)
			}
		}
	}
}

// TestEncodeDoesNotAllocate compresses again and again without garbage.
func TestEncodeDoesNotAllocate(t *testing.T) {
	var e Encoder
	src := inputs()["text"]
	dst := make([]byte, 0, len(src))
	if n := testing.AllocsPerRun(10, func() { e.Encode(dst, src) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzEncode compresses anything.
func FuzzEncode(f *testing.F) {
	for _, src := range inputs() {
		f.Add(src[:min(len(src), 5000)], uint16(1))
	}
	var e Encoder
	f.Fuzz(func(t *testing.T, unit []byte, times uint16) {
		src := bytes.Repeat(unit, int(min(int(times), 1+200000/(1+len(unit)))))
		p := e.Encode(make([]byte, 0, len(src)+len(src)/8+64), src)
		if p == nil || !bytes.Equal(inflate(t, p), src) {
			t.Fatalf("%d bytes are not what they were", len(src))
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	var e Encoder
	src := inputs()["text"][:65536]
	dst := make([]byte, 0, len(src))
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(dst, src)
	}
}
