package iov

import (
	"bytes"
	"testing"
)

// split cuts p into elements of the given sizes; what is left is the last one.
func split(p []byte, sizes ...int) [][]byte {
	var v [][]byte
	for _, n := range sizes {
		v = append(v, p[:n:n])
		p = p[n:]
	}
	return append(v, p)
}

func TestTrim(t *testing.T) {
	const text = "abcdefgh"
	for _, sizes := range [][]int{{}, {3}, {0, 3, 0}, {1, 1, 1, 1, 1, 1, 1, 1}, {8}, {0, 0}} {
		for n := -1; n <= len(text)+2; n++ {
			got := Trim(split([]byte(text), sizes...), n)
			want := text[:max(0, min(n, len(text)))]
			if s := string(bytes.Join(got, nil)); s != want {
				t.Errorf("Trim(%v, %d) = %q, want %q", sizes, n, s, want)
			}
			if Len(got) != len(want) {
				t.Errorf("Len(Trim(%v, %d)) = %d, want %d", sizes, n, Len(got), len(want))
			}
		}
	}
}

func TestSkip(t *testing.T) {
	const text = "abcdefgh"
	for _, sizes := range [][]int{{}, {3}, {0, 3, 0}, {1, 1, 1, 1, 1, 1, 1, 1}, {8}, {0, 0}} {
		for n := -1; n <= len(text)+2; n++ {
			got := Skip(split([]byte(text), sizes...), n)
			want := text[max(0, min(n, len(text))):]
			if s := string(bytes.Join(got, nil)); s != want {
				t.Errorf("Skip(%v, %d) = %q, want %q", sizes, n, s, want)
			}
		}
	}
}

func TestScatterGather(t *testing.T) {
	const text = "abcdefgh"
	for n := 0; n <= len(text)+2; n++ {
		p := bytes.Repeat([]byte{'.'}, n)
		if got, want := Gather(p, split([]byte(text), 3, 0, 2)), min(n, len(text)); got != want {
			t.Errorf("Gather into %d bytes = %d, want %d", n, got, want)
		} else if string(p[:got]) != text[:want] {
			t.Errorf("Gather into %d bytes wrote %q", n, p)
		}

		dst := bytes.Repeat([]byte{'.'}, n)
		v := split(dst, min(n, 3), 0)
		if got, want := Scatter(v, []byte(text)), min(n, len(text)); got != want {
			t.Errorf("Scatter into %d bytes = %d, want %d", n, got, want)
		} else if string(dst[:got]) != text[:want] {
			t.Errorf("Scatter into %d bytes wrote %q", n, dst)
		}
	}
}

func TestReader(t *testing.T) {
	r := NewReader(split([]byte("abcdefgh"), 3, 0, 2))
	for _, want := range []string{"ab", "c", "de", "f"} {
		max := 2
		if want == "f" {
			max = 1
		}
		if got := string(r.Next(max)); got != want {
			t.Fatalf("Next(%d) = %q, want %q", max, got, want)
		}
	}
	if got := r.Next(0); got != nil {
		t.Errorf("Next(0) = %q, want nil", got)
	}
	if got := string(r.Next(99)); got != "gh" {
		t.Errorf("Next(99) = %q, want the rest", got)
	}
	if got := r.Next(1); got != nil {
		t.Errorf("Next at the end = %q, want nil", got)
	}
}

func TestMismatch(t *testing.T) {
	for _, c := range []struct {
		with string
		want int
	}{
		{"abcdefgh", -1}, {"abcd", -1}, {"", -1},
		{"Xbcdefgh", 0}, {"abcXefgh", 3}, {"abcdefgX", 7}, {"abcdefghi", 8},
	} {
		r := NewReader(split([]byte("abcdefgh"), 3, 0, 2))
		if got := r.Mismatch([]byte(c.with)); got != c.want {
			t.Errorf("Mismatch(%q) = %d, want %d", c.with, got, c.want)
		}
	}
	r := NewReader(split([]byte("abcdefgh"), 3))
	if r.Mismatch([]byte("abcd")) != -1 || r.Mismatch([]byte("efgh")) != -1 {
		t.Error("Mismatch does not go on where it stopped")
	}
}

func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 64)
	v := make([][]byte, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		v = append(v[:0], buf[:16], buf[16:48], buf[48:])
		Trim(v, 40)
		Scatter(v, buf[:8])
		r := NewReader(v)
		r.Mismatch(buf[:8])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
