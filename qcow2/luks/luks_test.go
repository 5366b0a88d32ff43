package luks

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// mem is storage in memory of a fixed size. It counts what happens to it.
type mem struct {
	b     []byte
	log   []string
	after int // writes that succeed before one fails; -1: all do
}

func newMem(n int64) *mem { return &mem{b: make([]byte, n), after: -1} }

var errOutside, errBroken = errors.New("outside"), errors.New("broken")

func (m *mem) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, errOutside
	}
	return copy(p, m.b[off:]), nil
}

func (m *mem) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return 0, errOutside
	}
	if m.after == 0 {
		return 0, errBroken
	}
	m.after--
	if off == 0 {
		m.log = append(m.log, "header")
	} else {
		m.log = append(m.log, "material")
	}
	return copy(m.b[off:], p), nil
}

func (m *mem) Sync() error {
	m.log = append(m.log, "sync")
	return nil
}

// quick makes keys cheap.
var quick = KeyParams{Iterations: 1}

func allParams() []Params {
	return []Params{
		{},
		{Cipher: "aes-128"},
		{Cipher: "aes-192", Hash: "sha1"}, // refused by nobody: 48 bytes of key
		{Cipher: "aes-256", Mode: "cbc", IVGen: "essiv"},
		{Cipher: "aes-192", Mode: "cbc", IVGen: "plain64", Hash: "sha512"},
		{Cipher: "aes-128", Mode: "cbc", IVGen: "plain"},
		{Cipher: "aes-128", Mode: "ecb"},
		{Cipher: "aes-256", Mode: "xts", IVGen: "plain", Hash: "sha384"},
		{Mode: "xts", IVGen: "essiv", Hash: "sha224"},
	}
}

func (p Params) String() string {
	return strings.Join([]string{p.Cipher, p.Mode, p.IVGen, p.Hash}, "-")
}

func mustCreate(t testing.TB, p Params, passphrase string) (*mem, *Volume) {
	t.Helper()
	p.KeyParams = quick
	size, err := p.HeaderSize()
	if err != nil {
		t.Fatal(err)
	}
	m := newMem(size)
	v, err := Create(m, []byte(passphrase), p)
	if err != nil {
		t.Fatal(err)
	}
	return m, v
}

// TestVolume creates volumes of every kind, opens them again and compares what
// their ciphers make of sectors.
func TestVolume(t *testing.T) {
	for _, p := range allParams() {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			m, v := mustCreate(t, p, "secret")
			if _, err := Open(m, []byte("Secret"), OpenOptions{}); !errors.Is(err, ErrPassphrase) {
				t.Errorf("wrong passphrase: %v", err)
			}
			w, err := Open(m, []byte("secret"), OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if v.Header() != w.Header() {
				t.Errorf("header %+v\nwas %+v", w.Header(), v.Header())
			}
			plain := bytes.Repeat([]byte("sixteen letters!"), 5*SectorSize/16)
			whole := make([]byte, len(plain))
			v.Cipher().Encrypt(whole, plain, 1<<32-2)
			if bytes.Contains(whole, plain[:16]) {
				t.Error("not encrypted")
			}
			// Sector by sector, in place, by the other instance.
			pieces := bytes.Clone(whole)
			for i := range uint64(5) {
				s := pieces[i*SectorSize : (i+1)*SectorSize]
				w.Cipher().Decrypt(s, s, 1<<32-2+i)
			}
			if !bytes.Equal(pieces, plain) {
				t.Error("decrypted sector by sector: something else")
			}
			w.Cipher().Encrypt(pieces, pieces, 1<<32-2)
			if !bytes.Equal(pieces, whole) {
				t.Error("encrypted in place: something else")
			}
		})
	}
}

// TestXTSVectors are vectors 4 and 10 of IEEE 1619-2007, which are of one sector.
func TestXTSVectors(t *testing.T) {
	counting := make([]byte, SectorSize)
	for i := range counting {
		counting[i] = byte(i)
	}
	for _, tt := range []struct {
		key    string
		sector uint64
		head   string // of the encrypted sector
	}{
		{
			"27182818284590452353602874713526" + "31415926535897932384626433832795", 0,
			"27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
		},
		{
			"2718281828459045235360287471352662497757247093699959574966967627" +
				"3141592653589793238462643383279502884197169399375105820974944592", 0xff,
			"1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
		},
	} {
		key, err := hex.DecodeString(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCipher(spec{mode: modeXTS, ivGen: ivPlain64, key: len(key)}, key)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, SectorSize)
		c.Encrypt(got, counting, tt.sector)
		if h := hex.EncodeToString(got); !strings.HasPrefix(h, tt.head) {
			t.Errorf("sector %#x:\n%s", tt.sector, h)
		}
		c.Decrypt(got, got, tt.sector)
		if !bytes.Equal(got, counting) {
			t.Error("decrypted to something else")
		}
	}
}

// TestCipherDoesNotAllocate is about the steady state of the data path.
func TestCipherDoesNotAllocate(t *testing.T) {
	for _, p := range allParams() {
		_, v := mustCreate(t, p, "x")
		buf := make([]byte, 64<<10)
		for name, run := range map[string]func([]byte, []byte, uint64){"encrypt": v.Cipher().Encrypt, "decrypt": v.Cipher().Decrypt} {
			if n := testing.AllocsPerRun(20, func() { run(buf, buf, 77) }); n >= 1 && !raceDetector {
				t.Errorf("%v: %s of 128 sectors: %v allocations", p, name, n)
			}
		}
	}
}

// TestKeySlots adds and erases passphrases.
func TestKeySlots(t *testing.T) {
	m, v := mustCreate(t, Params{Cipher: "aes-128"}, "one")
	opens := func(passphrase string, want bool) {
		t.Helper()
		w, err := Open(m, []byte(passphrase), OpenOptions{})
		if want && err != nil || !want && !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v, want success: %v", passphrase, err, want)
		}
		if err == nil && !bytes.Equal(w.key, v.key) {
			t.Errorf("%q opens another key", passphrase)
		}
	}
	if i, err := v.AddKey(AnySlot, []byte("two"), quick); i != 1 || err != nil {
		t.Fatal(i, err)
	}
	if i, err := v.AddKey(7, []byte("seven"), quick); i != 7 || err != nil {
		t.Fatal(i, err)
	}
	for _, bad := range []int{0, 1, 7, 8, -2} {
		if _, err := v.AddKey(bad, []byte("x"), quick); !errors.Is(err, ErrSlot) {
			t.Errorf("key for slot %d: %v", bad, err)
		}
	}
	opens("one", true)
	opens("two", true)
	opens("seven", true)
	opens("three", false)
	if err := v.EraseKey(0, false); err != nil {
		t.Fatal(err)
	}
	if err := v.EraseKey(0, false); !errors.Is(err, ErrSlot) {
		t.Errorf("erased twice: %v", err)
	}
	opens("one", false)
	opens("two", true)
	if ok, err := v.Opens(1, []byte("two")); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := v.Opens(0, []byte("one")); ok || err != nil {
		t.Error(ok, err)
	}
	// The same passphrase twice.
	if i, err := v.AddKey(AnySlot, []byte("seven"), quick); i != 0 || err != nil {
		t.Fatal(i, err)
	}
	if list, err := v.EraseMatching([]byte("seven"), false); fmt.Sprint(list) != "[0 7]" || err != nil {
		t.Error(list, err)
	}
	opens("seven", false)
	if _, err := v.EraseMatching([]byte("seven"), false); !errors.Is(err, ErrSlot) {
		t.Errorf("nothing to erase: %v", err)
	}
	if err := v.EraseKey(1, false); !errors.Is(err, ErrSlot) {
		t.Errorf("erase the last key: %v", err)
	}
	if _, err := v.EraseMatching([]byte("two"), false); !errors.Is(err, ErrSlot) {
		t.Errorf("erase the last key by its passphrase: %v", err)
	}
	opens("two", true)
	for i := range Slots - 1 {
		if _, err := v.AddKey(AnySlot, fmt.Append(nil, i), quick); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.AddKey(AnySlot, []byte("x"), quick); !errors.Is(err, ErrSlot) {
		t.Errorf("a ninth key: %v", err)
	}
	opens("6", true)
	for i := range Slots {
		if err := v.EraseKey(i, true); err != nil {
			t.Fatal(err)
		}
	}
	opens("two", false)
}

// TestEraseLeavesNoMaterial looks at what an erased slot leaves.
func TestEraseLeavesNoMaterial(t *testing.T) {
	m, v := mustCreate(t, Params{}, "x")
	before := bytes.Clone(m.b)
	if err := v.EraseKey(0, true); err != nil {
		t.Fatal(err)
	}
	same := 0
	material := before[materialAlign : materialAlign+64*stripes]
	for i := range material {
		same += int(b2i(material[i] == m.b[materialAlign+i]))
	}
	if same > len(material)/100 {
		t.Errorf("%d of %d bytes of key material are left", same, len(material))
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestKeyOrder fails each write of adding and erasing a key: the header never
// names key material that is not there, and another key goes on to work.
func TestKeyOrder(t *testing.T) {
	m, v := mustCreate(t, Params{Cipher: "aes-128"}, "one")
	m.log = nil
	if _, err := v.AddKey(3, []byte("two"), quick); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.log); got != "[material sync header sync]" {
		t.Errorf("adding a key: %s", got)
	}
	m.log = nil
	if err := v.EraseKey(3, false); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.log[:4]); got != "[header sync material sync]" {
		t.Errorf("erasing a key: %s", got)
	}
	for n := range 2 {
		m.after = n
		if _, err := v.AddKey(3, []byte("two"), quick); !errors.Is(err, errBroken) {
			t.Errorf("write %d fails: %v", n, err)
		}
		m.after = -1
		if v.Header().Slots[3].Active {
			t.Error("slot counts as used")
		}
		if _, err := Open(m, []byte("one"), OpenOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := v.AddKey(3, []byte("two"), quick); err != nil {
		t.Error(err)
	}
}

// TestCreateRefuses names what is not built.
func TestCreateRefuses(t *testing.T) {
	for _, p := range []Params{
		{Cipher: "serpent-256"}, {Cipher: "aes"}, {Mode: "ctr"}, {IVGen: "random"}, {Hash: "md5"}, {Hash: "whirlpool"},
		{IVGen: "essiv", IVHash: "sha512"}, {IVGen: "essiv", IVHash: "sha1"}, {IVHash: strings.Repeat("x", 40)},
		{KeyParams: KeyParams{IterTime: -1}},
	} {
		if _, err := p.HeaderSize(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%+v: %v", p, err)
		}
		if _, err := Create(newMem(4<<20), nil, p); !errors.Is(err, ErrUnsupported) {
			t.Errorf("create %+v: %v", p, err)
		}
	}
}

// TestIterTime asks for keys that take a given time.
func TestIterTime(t *testing.T) {
	slow, err := iterationsFor("sha256", 64, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := iterationsFor("sha256", 64, time.Nanosecond)
	if err != nil || fast != minIterations || slow < 1000*fast {
		t.Errorf("an hour: %d iterations; a nanosecond: %d, %v", slow, fast, err)
	}
	p := Params{Cipher: "aes-128", KeyParams: KeyParams{IterTime: 10 * time.Millisecond}}
	m := newMem(2 << 20)
	v, err := Create(m, []byte("x"), p)
	if err != nil {
		t.Fatal(err)
	}
	if h := v.Header(); h.Slots[0].Iterations < minIterations || h.DigestIters < minIterations {
		t.Errorf("iterations: %d, %d", h.Slots[0].Iterations, h.DigestIters)
	}
}

// TestBadHeaders changes a good header in every way that hostile images might.
func TestBadHeaders(t *testing.T) {
	m, _ := mustCreate(t, Params{}, "x")
	good := bytes.Clone(m.b)
	be := binary.BigEndian
	put := func(off int, v uint32) func([]byte) { return func(b []byte) { be.PutUint32(b[off:], v) } }
	text := func(off int, s string) func([]byte) {
		return func(b []byte) { clear(b[off : off+32]); copy(b[off:off+32], s) }
	}
	for name, tt := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"magic":                      {func(b []byte) { b[0]++ }, ErrFormat},
		"version 2":                  {func(b []byte) { b[7] = 2 }, ErrUnsupported},
		"cipher name without end":    {text(8, strings.Repeat("a", 32)), ErrInvalid},
		"cipher mode without end":    {text(40, strings.Repeat("a", 32)), ErrInvalid},
		"hash without end":           {text(72, strings.Repeat("a", 32)), ErrInvalid},
		"unknown cipher":             {text(8, "rot13"), ErrUnsupported},
		"cipher mode without IVs":    {text(40, "xts"), ErrInvalid},
		"unknown mode":               {text(40, "gcm-plain64"), ErrUnsupported},
		"unknown IVs":                {text(40, "xts-random"), ErrUnsupported},
		"essiv without hash":         {text(40, "cbc-essiv"), ErrUnsupported},
		"unknown hash":               {text(72, "crc32"), ErrUnsupported},
		"payload in the header":      {put(104, 0), ErrInvalid},
		"payload over key material":  {put(104, 4000), ErrInvalid},
		"no key bytes":               {put(108, 0), ErrUnsupported},
		"odd key bytes":              {put(108, 33), ErrUnsupported},
		"many key bytes":             {put(108, 1<<32-1), ErrUnsupported},
		"digest without iterations":  {put(164, 0), ErrInvalid},
		"digest for ever":            {put(164, 1<<32-1), ErrInvalid},
		"slot state":                 {put(208, 1), ErrInvalid},
		"slot without iterations":    {put(212, 0), ErrInvalid},
		"slot for ever":              {put(212, 1<<32-1), ErrInvalid},
		"slot longer than allowed":   {put(212, DefaultMaxIterations+1), ErrInvalid},
		"slot in the header":         {put(248, 7), ErrInvalid},
		"slot in the payload":        {put(248, 4040), ErrInvalid},
		"slot past everything":       {put(248, 1<<32-1), ErrInvalid},
		"slots overlap":              {put(248+48, 100), ErrInvalid},
		"no stripes":                 {put(252, 0), ErrInvalid},
		"many stripes":               {put(252, 1<<32-1), ErrInvalid},
		"unused slot without offset": {put(248+7*48, 0), ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(good)
			tt.change(b)
			_, err := Open(&mem{b: b}, []byte("x"), OpenOptions{})
			if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %v", err, tt.want)
			}
		})
	}
	for name, n := range map[string]int{"nothing": 0, "half a header": 300, "cut before the key material": 8192} {
		if _, err := Open(&mem{b: good[:n]}, []byte("x"), OpenOptions{}); !errors.Is(err, errOutside) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(&mem{b: good}, []byte("x"), OpenOptions{MaxIterations: 500}); !errors.Is(err, ErrInvalid) {
		t.Errorf("with a limit of 500 iterations: %v", err)
	}
}

// FuzzHeader opens headers that are anything.
func FuzzHeader(f *testing.F) {
	for _, p := range allParams() {
		m, _ := mustCreate(f, p, "x")
		f.Add(m.b[:headerSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(h.marshal())
		if err != nil || *again != *h {
			t.Errorf("%+v marshals to %+v, %v", h, again, err)
		}
		_, err = Open(&zeroes{b}, []byte("x"), OpenOptions{MaxIterations: 100})
		if err == nil {
			t.Error("opened")
		}
	})
}

// zeroes is a header with zeroes behind it.
type zeroes struct{ b []byte }

func (z *zeroes) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(z.b)) {
		copy(p, z.b[off:])
	}
	return len(p), nil
}
func (z *zeroes) WriteAt([]byte, int64) (int, error) { return 0, io.ErrShortWrite }
func (z *zeroes) Sync() error                        { return nil }

// TestPlainWraps has the 32-bit vectors start over where the 64-bit ones go on.
func TestPlainWraps(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(rand.Uint32())
	}
	var out [2][2][SectorSize]byte
	for i, gen := range []string{ivPlain, ivPlain64} {
		c, err := newCipher(spec{mode: modeCBC, ivGen: gen, key: len(key)}, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Encrypt(out[i][0][:], make([]byte, SectorSize), 5)
		c.Encrypt(out[i][1][:], make([]byte, SectorSize), 1<<32+5)
	}
	if out[0][0] != out[0][1] || out[1][0] == out[1][1] || out[0][0] != out[1][0] {
		t.Error("plain must wrap at 2^32 sectors, plain64 must not")
	}
}

func BenchmarkCipher(b *testing.B) {
	for _, p := range allParams() {
		_, v := mustCreate(b, p, "x")
		buf := make([]byte, 64<<10)
		for _, op := range []struct {
			name string
			run  func(dst, src []byte, sector uint64)
		}{{"encrypt", v.Cipher().Encrypt}, {"decrypt", v.Cipher().Decrypt}} {
			b.Run(p.String()+"/"+op.name, func(b *testing.B) {
				b.SetBytes(int64(len(buf)))
				b.ReportAllocs()
				for b.Loop() {
					op.run(buf, buf, 1000)
				}
			})
		}
	}
}
