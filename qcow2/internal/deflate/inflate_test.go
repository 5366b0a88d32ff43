package deflate

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	kflate "github.com/klauspost/compress/flate"
)

// streams compresses an input by all that makes streams of different kinds.
func streams(t testing.TB, src []byte) map[string][]byte {
	t.Helper()
	list := map[string][]byte{"ours": new(Encoder).Encode(make([]byte, 0, len(src)+len(src)/8+64), src)}
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, level)
		if err != nil {
			t.Fatal(err)
		}
		for p := src; len(p) > 0; { // flushes make blocks of all sizes, also empty ones
			n := min(len(p), 20000+level*3000)
			if _, err := w.Write(p[:n]); err != nil {
				t.Fatal(err)
			}
			if p = p[n:]; level%2 == 0 {
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		list[fmt.Sprint("level ", level)] = out.Bytes()
	}
	return list
}

// TestDecode decompresses streams of other encoders, with and without something behind
// them, into room for all of it, for a part, and for more.
func TestDecode(t *testing.T) {
	var d Decoder
	for name, src := range inputs() {
		src = src[:min(len(src), 150000)]
		for by, stream := range streams(t, src) {
			for _, behind := range []int{0, 7, 100} {
				for _, n := range []int{len(src), len(src) - 1, len(src) / 3} {
					dst := make([]byte, max(n, 0))
					if err := d.Decode(dst, append(stream[:len(stream):len(stream)], make([]byte, behind)...)); err != nil {
						t.Fatalf("%s, %s, %d of %d bytes: %v", name, by, n, len(src), err)
					}
					if !bytes.Equal(dst, src[:len(dst)]) {
						t.Fatalf("%s, %s, %d of %d bytes: others than there were", name, by, n, len(src))
					}
				}
			}
			if err := d.Decode(make([]byte, len(src)+1), stream); !errors.Is(err, errFewerBytes) {
				t.Errorf("%s, %s: a byte more than there is: %v", name, by, err)
			}
			for _, n := range []int{0, 1, len(stream) / 2, len(stream) - 1} {
				if err := d.Decode(make([]byte, len(src)+1), stream[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %s: %d of %d bytes: %v", name, by, n, len(stream), err)
				}
			}
		}
	}
}

// TestDecodeZlib decompresses streams that zlib made in all its manners.
func TestDecodeZlib(t *testing.T) {
	var text bytes.Buffer
	for state := uint64(1); text.Len() < 3000; {
		state = state*6364136223846793005 + 1442695040888963407
		fmt.Fprintf(&text, "%d block %x of the disk\n", text.Len(), state>>40)
	}
	text.Truncate(3000)
	list, err := os.ReadFile("testdata/zlib.txt")
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	rows := 0
	for line := range strings.Lines(string(list)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		manner, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		stream, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 3000)
		if err := d.Decode(dst, stream); err != nil || !bytes.Equal(dst, text.Bytes()) {
			t.Errorf("%s: others than there were, %v", manner, err)
		}
	}
	if rows == 0 {
		t.Error("no streams")
	}
}

// agree compares a decoder with the library's, which reads what is wanted and no more.
func agree(t *testing.T, d *Decoder, stream []byte, n int) {
	t.Helper()
	want, got := make([]byte, n), make([]byte, n+64)
	_, wantErr := io.ReadFull(flate.NewReader(bytes.NewReader(stream)), want)
	err := d.Decode(got[:n:n], stream)
	if !bytes.Equal(got[n:], make([]byte, 64)) {
		t.Fatalf("written behind the %d bytes wanted of % x", n, stream)
	}
	// The library takes codes that zlib refuses: without an end of the block, and a single
	// one for the lengths of codes.
	if wantErr == nil && (errors.Is(err, errNoEnd) || errors.Is(err, errIncomplete)) {
		return
	}
	// It wants the bits of the block's end to be there with any other code.
	if err == nil && errors.Is(wantErr, io.ErrUnexpectedEOF) {
		_, wantErr = io.ReadFull(flate.NewReader(bytes.NewReader(append(stream[:len(stream):len(stream)], 0, 0))), want)
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%v, but %v by the library, %d bytes of % x", err, wantErr, n, stream)
	}
	if err == nil && !bytes.Equal(got[:n], want) {
		t.Fatalf("others than the library reads, %d bytes of % x", n, stream)
	}
}

// TestDecodeDamaged changes streams anywhere: what comes of that is what the library makes
// of it.
func TestDecodeDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var d Decoder
	for _, src := range inputs() {
		src = src[:min(len(src), 3000)]
		for _, stream := range streams(t, src) {
			for range 30 {
				p := bytes.Clone(stream)
				for range 1 + rng.IntN(3) {
					p[rng.IntN(min(len(p), 1+rng.IntN(len(p))))] ^= 1 << rng.IntN(8)
				}
				agree(t, &d, p[:len(p)-rng.IntN(2)*rng.IntN(len(p))], len(src))
			}
		}
	}
}

// bitsOf makes bytes of bits, written in the order that they come in, lowest first. Blanks
// do not count.
func bitsOf(s string) []byte {
	var out []byte
	n := 0
	for _, c := range s {
		if c == ' ' {
			continue
		}
		if n%8 == 0 {
			out = append(out, 0)
		}
		out[n/8] |= byte(c-'0') << (n % 8)
		n++
	}
	return append(out, make([]byte, 8)...)
}

// TestDecodeRefuses has streams that break a rule each.
func TestDecodeRefuses(t *testing.T) {
	const lens = "100 " // a code length of 1 in three bits
	tests := []struct {
		name, bits string
		want       error
	}{
		{"reserved kind", "1 11", errBlockKind},
		{"stored, complement wrong", "1 00 00000 1000000000000000 0000000000000000", errStored},
		{"287 literals", "1 01 01111 00000 0000", errCounts},
		{"31 distances", "1 01 00000 01111 0000", errCounts},
		{"three codes of one bit", "1 01 00000 00000 0000" + lens + lens + lens + "000", errCode},
		{"a single code for lengths", "1 01 00000 00000 0000 000 000 000" + lens, errIncomplete},
		{"no code for lengths", "1 01 00000 00000 0000 000 000 000 000", errIncomplete},
		// Codes for 16 and 18; 16 is 0.
		{"repeat before the first", "1 01 00000 00000 0000" + lens + "000" + lens + "000 0 00", errRepeat},
		// 18 is 1: 138 twice is more than 258.
		{"repeat behind the last", "1 01 00000 00000 0000" + lens + "000" + lens + "000 1 1111111 1 1111111", errRepeat},
		// 138 and 120 zeroes.
		{"no end of the block", "1 01 00000 00000 0000" + lens + "000" + lens + "000 1 1111111 1 1011011", errNoEnd},
		{"fixed symbol 286", "1 10 11000110", errSymbol},
		{"fixed distance 30", "1 10 00110000 0000001 11110", errSymbol},
		{"distance before the beginning", "1 10 00110000 0000001 10000", errDistance},
		{"distance before the beginning, first", "1 10 0000001 00000", errDistance},
		{"ends", "1 10 0000000", errFewerBytes},
	}
	var d Decoder
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, behind := range []int{0, 100} { // carefully and fast
				stream := append(bitsOf(tt.bits), make([]byte, behind)...)
				if err := d.Decode(make([]byte, 1000), stream); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			}
		})
	}
}

// TestDecodeFar refers back by 32 KiB, which zlib accepts in a window of 4 KiB as well
// where it has what it wrote in one piece.
func TestDecodeFar(t *testing.T) {
	src := bytes.Repeat(inputs()["random"][:32768], 2)
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 9)
	if err == nil {
		_, err = w.Write(src)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 40000 {
		t.Fatalf("%d bytes: the stream does not refer back so far", out.Len())
	}
	dst := make([]byte, len(src))
	if err := new(Decoder).Decode(dst, out.Bytes()); err != nil || !bytes.Equal(dst, src) {
		t.Errorf("others than there were, %v", err)
	}
}

// TestDecodeDoesNotAllocate decompresses again and again without garbage.
func TestDecodeDoesNotAllocate(t *testing.T) {
	var d Decoder
	src := inputs()["text"][:65536]
	dst := make([]byte, len(src))
	for _, stream := range streams(t, src) {
		if n := testing.AllocsPerRun(10, func() { _ = d.Decode(dst, stream) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// FuzzDecode decompresses anything, beside the library.
func FuzzDecode(f *testing.F) {
	for _, src := range inputs() {
		src = src[:min(len(src), 2000)]
		for _, stream := range streams(f, src) {
			f.Add(stream, uint16(len(src)))
		}
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, stream []byte, n uint16) { agree(t, &d, stream, int(n)) })
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"text", "random letters", "skewed", "zeroes", "period 4096"} {
		src := inputs()[name][:65536]
		stream := streams(b, src)["level 6"]
		dst := make([]byte, len(src))
		b.Run(name+"/ours", func(b *testing.B) {
			var d Decoder
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if err := d.Decode(dst, stream); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/klauspost", func(b *testing.B) {
			in := bytes.NewReader(stream)
			r := kflate.NewReader(in)
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				in.Reset(stream)
				err := r.(kflate.Resetter).Reset(in, nil)
				if _, err2 := io.ReadFull(r, dst); errors.Join(err, err2) != nil {
					b.Fatal(err, err2)
				}
			}
		})
	}
}
