package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/govmm/govmm/qcow2/luks"
)

// cheapKeys makes trying a passphrase take no time.
var cheapKeys = luks.KeyParams{Iterations: 1}

// encryptedConfigs are images of each kind of encryption.
func encryptedConfigs() []config {
	c := func(version int, cluster int64, backing bool, e Encryption) config {
		e.Secret, e.LUKS.KeyParams = []byte("secret"), cheapKeys
		o := CreateOptions{Version: version, ClusterSize: cluster, Size: mib + 3*sectorSize, Encryption: &e}
		if backing {
			o.BackingFile, o.BackingFormat = "base", "raw"
		}
		return config{o, backing}
	}
	return []config{
		c(3, 65536, false, Encryption{}),
		c(3, 512, true, Encryption{LUKS: luks.Params{Cipher: "aes-128", Mode: "cbc", IVGen: "essiv", Hash: "sha1"}}),
		c(2, 4096, true, Encryption{Method: EncryptionLUKS, LUKS: luks.Params{Cipher: "aes-128"}}),
		c(2, 65536, false, Encryption{Method: EncryptionAES}),
	}
}

func (e *Encryption) String() string {
	return fmt.Sprintf("%s%s%s", e.Method, e.LUKS.Cipher, e.LUKS.Mode)
}

// TestEncryptedOperations holds encrypted images against a model, across
// snapshots and sessions, and looks for what was written in their files.
func TestEncryptedOperations(t *testing.T) {
	for i, c := range encryptedConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			d := newDisk(t, c, rng)
			for step := range scale(120, 5000) {
				op := randomOperation(rng, c.o.Size, max(c.o.ClusterSize, 4096))
				if err := op.run(d.im, rng); err != nil {
					t.Fatalf("step %d, %v: %v", step, op, err)
				}
				op.apply(d.im, d.model)
				if step%40 == 39 {
					d.compare()
					d.reopen()
				}
			}
			saved := bytes.Clone(d.model)
			if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
				t.Fatal(err)
			}
			text := bytes.Repeat([]byte("plain text"), 30<<10)
			if err := d.im.WriteV([][]byte{text[:12345], text[12345:]}, 4000); err != nil {
				t.Fatal(err)
			}
			copy(d.model[4000:], text)
			d.compare()
			d.reopen()
			if bytes.Contains(d.f.data, []byte("plain text")) {
				t.Error("plain text in the file")
			}
			if err := d.im.ApplySnapshot("s"); err != nil {
				t.Fatal(err)
			}
			d.model = saved
			d.compare()
			d.reopen()
			d.compare()
		})
	}
}

// TestEncryptedSecrets opens encrypted images with the right passphrase, a wrong
// one, and none.
func TestEncryptedSecrets(t *testing.T) {
	broken := errors.New("can't be read")
	for _, c := range encryptedConfigs() {
		t.Run(c.String(), func(t *testing.T) {
			d := newDisk(t, c, rand.New(rand.NewPCG(1, 2)))
			if err := d.im.WriteV(pattern(7, 5000), 100); err != nil {
				t.Fatal(err)
			}
			d.reopen()
			f := d.f.reopened()
			with := func(o Options) Options {
				o.NoBacking = true
				return o
			}
			for name, tt := range map[string]struct {
				o    Options
				want error
			}{
				"none":             {Options{}, ErrSecret},
				"nil":              {Options{Secret: func() ([]byte, error) { return nil, nil }}, ErrSecret},
				"can't be had":     {Options{Secret: func() ([]byte, error) { return nil, broken }}, broken},
				"wrong passphrase": {Options{Secret: secret("Secret")}, luks.ErrPassphrase},
			} {
				if c.o.Encryption.Method == EncryptionAES && errors.Is(tt.want, luks.ErrPassphrase) {
					continue // nobody can tell
				}
				_, err := Open(f, with(tt.o))
				if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v; want one line, %v", name, err, tt.want)
				}
			}
			im, err := Open(f, with(Options{NoSecret: true}))
			if err != nil {
				t.Fatal(err)
			}
			if info := im.Info().Encryption; info == nil || !info.Locked || (info.LUKS != nil) != (info.Method == EncryptionLUKS) {
				t.Errorf("locked image: %+v", info)
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Errorf("check of a locked image: %+v, %v", res, err)
			}
			for what, err := range map[string]error{
				"read":    im.ReadV([][]byte{{1}}, 0),
				"write":   im.WriteV([][]byte{{1}}, 0),
				"zeroes":  im.WriteZeroes(0, 512, false),
				"discard": im.Discard(0, 512),
				"grow":    im.Resize(8 * mib),
			} {
				if !errors.Is(err, ErrSecret) {
					t.Errorf("%s of a locked image: %v", what, err)
				}
			}
			if _, err := addKey(im, luks.AnySlot, []byte("x"), cheapKeys); err == nil {
				t.Error("added a key to a locked image")
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestEncryptedFreshCluster reads around a small write to a new cluster: what
// was not written must decrypt to zeroes.
func TestEncryptedFreshCluster(t *testing.T) {
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	for _, off := range []int64{70000, 200 * kib, mib - 1} {
		if err := d.im.WriteV(pattern(9, 600), off); err != nil {
			t.Fatal(err)
		}
		copy(d.model[off:], pattern(9, 600)[0])
	}
	d.compare()
	d.reopen()
	d.compare()
	if err := d.im.WriteZeroes(70100, 100, true); err != nil {
		t.Fatal(err)
	}
	clear(d.model[70100:70200])
	d.compare()
}

// TestEncryptedWriteKeepsMemory looks at the caller's memory after a write.
func TestEncryptedWriteKeepsMemory(t *testing.T) {
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	p := pattern(5, 300*kib)
	want := bytes.Clone(p[0])
	for range 2 { // into new clusters, and in place
		if err := d.im.WriteV(p, 512); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p[0], want) {
			t.Fatal("a write changed the memory it came from")
		}
	}
}

// TestEncryptedDoesNotAllocate is about the steady state: in place, cached.
func TestEncryptedDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools at random")
	}
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	bufs := [][]byte{make([]byte, 4096), make([]byte, 4096)}
	f, err := OpenFile(t.TempDir()+"/disk", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(f, encryptedConfigs()[0].o); err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, d.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	for name, do := range map[string]func() error{
		"write": func() error { return im.WriteV(bufs, 8192) },
		"read":  func() error { return im.ReadV(bufs, 8192) },
	} {
		if err := im.WriteV(bufs, 8192); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		}); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestEncryptedDataFile has the encrypted data in an external file.
func TestEncryptedDataFile(t *testing.T) {
	for _, method := range []string{EncryptionLUKS, EncryptionAES} {
		f, data := new(memFile), new(memFile)
		e := &Encryption{Method: method, Secret: []byte("secret"), LUKS: luks.Params{KeyParams: cheapKeys}}
		if err := Create(f, CreateOptions{Size: mib, DataFile: "data", Data: data, Encryption: e}); err != nil {
			t.Fatal(err)
		}
		o := Options{Secret: secret("secret"), DataFile: func(string) (File, error) { return data, nil }}
		im, err := Open(f, o)
		if err != nil {
			t.Fatal(err)
		}
		model := make([]byte, mib)
		rng := rand.New(rand.NewPCG(3, 4))
		for range 60 {
			op := randomOperation(rng, mib, 65536)
			if op.kind == "compress" {
				continue
			}
			if err := op.run(im, rng); err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			op.apply(im, model)
		}
		text := bytes.Repeat([]byte("plain text"), 10000)
		if err := im.WriteV([][]byte{text}, 12345); err != nil {
			t.Fatal(err)
		}
		copy(model[12345:], text)
		if err := compareWith(im, model); err != nil {
			t.Error(err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		f, data = f.reopened(), data.reopened()
		if im, err = Open(f, o); err != nil {
			t.Fatal(err)
		}
		if err := compareWith(im, model); err != nil {
			t.Error(err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
			t.Errorf("%+v, %v", res, err)
		}
		if bytes.Contains(append(data.data, f.data...), []byte("plain text")) {
			t.Error("plain text in the files")
		}
	}
}

// TestEncryptedPreallocation has storage in advance that reads as zeroes, never as noise:
// when the disk is made, when it grows over clusters that were used, and between data. In version 2
// that can't be.
func TestEncryptedPreallocation(t *testing.T) {
	e := &Encryption{Secret: []byte("secret"), LUKS: luks.Params{KeyParams: cheapKeys}}
	for _, p := range []Preallocation{PreallocateMetadata, PreallocateFalloc, PreallocateFull} {
		for _, extended := range []bool{false, true} {
			f := new(memFile)
			if err := Create(f, CreateOptions{Size: mib, Encryption: e, Preallocation: p, ExtendedL2: extended}); err != nil {
				t.Fatal(err)
			}
			im, err := Open(f, Options{Secret: func() ([]byte, error) { return e.Secret, nil }})
			if err != nil {
				t.Fatal(err)
			}
			data := pattern(0x33, 100*kib)
			if err := errors.Join(im.WriteV(data, 50*kib), im.Discard(64*kib, 64*kib), im.ResizeWith(2*mib, ResizeOptions{Preallocation: p})); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, 2*mib)
			copy(want[50*kib:], data[0][:14*kib])
			copy(want[128*kib:], data[0][:22*kib])
			got := make([]byte, 2*mib)
			if err := im.ReadV([][]byte{got}, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v, subclusters %v: %v; first difference at %#x", p, extended, err, firstDifference(got, want))
			}
			if res, err := im.Check(CheckOptions{}); err != nil || !res.Clean() {
				t.Errorf("%+v, %v", res, err)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := Create(new(memFile), CreateOptions{Version: 2, Size: mib, Encryption: e, Preallocation: p}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("version 2, %v: %v", p, err)
		}
	}
}

// TestEncryptedNotCompressed refuses compressed clusters, as QEMU does.
func TestEncryptedNotCompressed(t *testing.T) {
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	if err := d.im.WriteCompressed(make([]byte, 65536), 0); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	d.compare()
}

// TestEncryptionOptions creates images with impossible options.
func TestEncryptionOptions(t *testing.T) {
	for name, e := range map[string]Encryption{
		"method":    {Method: "rot13", Secret: []byte("x")},
		"no secret": {},
		"no AES":    {Method: EncryptionAES},
		"cipher":    {Secret: []byte("x"), LUKS: luks.Params{Cipher: "des"}},
	} {
		if err := Create(new(memFile), CreateOptions{Size: mib, Encryption: &e}); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestImageKeys adds and erases passphrases of an image in use.
func TestImageKeys(t *testing.T) {
	d := newDisk(t, encryptedConfigs()[0], rand.New(rand.NewPCG(1, 2)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := d.im.WriteV(pattern(3, 5000), i*777%(mib/2)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if slot, err := addKey(d.im, luks.AnySlot, []byte("two"), cheapKeys); slot != 1 || err != nil {
		t.Error(slot, err)
	}
	if slot, err := addKey(d.im, 4, []byte("three"), cheapKeys); slot != 4 || err != nil {
		t.Error(slot, err)
	}
	if err := eraseKey(d.im, 0, false); err != nil {
		t.Error(err)
	}
	if info := d.im.Info().Encryption; info.Method != EncryptionLUKS || info.LUKS.ActiveSlots() != 2 || !info.LUKS.Slots[4].Active {
		t.Errorf("%+v", info)
	}
	close(stop)
	wg.Wait()
	if err := d.im.ReadV([][]byte{d.model}, 0); err != nil {
		t.Fatal(err)
	}
	d.opts.Secret = secret("three")
	d.reopen()
	d.compare()
	if list, err := eraseKeys(d.im, []byte("two"), false); fmt.Sprint(list) != "[1]" || err != nil {
		t.Error(list, err)
	}
	if err := eraseKey(d.im, 4, false); !errors.Is(err, luks.ErrSlot) {
		t.Errorf("erase the last key: %v", err)
	}
	if _, err := Open(d.f, Options{ReadOnly: true, Secret: secret("secret")}); !errors.Is(err, luks.ErrPassphrase) {
		t.Errorf("erased key: %v", err)
	}
	im, err := Open(d.f.reopened(), Options{ReadOnly: true, Secret: secret("three")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addKey(im, 2, []byte("x"), cheapKeys); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	plain := newDisk(t, config{o: CreateOptions{Size: mib}}, nil)
	if err := eraseKey(plain.im, 2, false); !errors.Is(err, ErrUnsupported) {
		t.Errorf("no encryption: %v", err)
	}
	if plain.im.Info().Encryption != nil {
		t.Error("an image that is not encrypted says it is")
	}
	if err := plain.im.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := addKey(plain.im, 2, []byte("x"), cheapKeys); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestHostileEncryption opens images whose encryption header can't be right
// (rows 13 and 52), and such in which other things lie upon it.
func TestHostileEncryption(t *testing.T) {
	c := encryptedConfigs()[0]
	d := newDisk(t, c, rand.New(rand.NewPCG(1, 2)))
	if err := d.im.WriteV(pattern(1, 65536), 0); err != nil {
		t.Fatal(err)
	}
	d.reopen()
	good := d.f.reopened()
	ext := int64(bytes.Index(good.data, binary.BigEndian.AppendUint32(nil, extCrypto)))
	header := int64(good.get64(ext + 8))
	for name, tt := range map[string]struct {
		edit func(*memFile)
		want error
		text string
	}{
		"extension of 8 bytes":     {func(f *memFile) { f.put32(ext+4, 8) }, ErrInvalid, "size 8, but expected size 16"},
		"extension of 24 bytes":    {func(f *memFile) { f.put32(ext+4, 24); f.put64(ext+24, 0); f.put64(ext+32, 0) }, ErrInvalid, "size 24, but expected size 16"},
		"no extension":             {func(f *memFile) { f.put32(ext, 0x12345678) }, ErrInvalid, "missing CRYPTO header"},
		"extension, but AES":       {func(f *memFile) { f.put32(32, cryptAES) }, ErrInvalid, "only expected with LUKS"},
		"extension, no encryption": {func(f *memFile) { f.put32(32, cryptNone) }, ErrInvalid, "only expected with LUKS"},
		"unaligned":                {func(f *memFile) { f.put64(ext+8, uint64(header)+512) }, ErrInvalid, "offset invalid"},
		"far out":                  {func(f *memFile) { f.put64(ext+8, 0xffffffffffff0000) }, ErrInvalid, "offset invalid"},
		"beyond the file":          {func(f *memFile) { f.put64(ext+8, 1<<40) }, luks.ErrFormat, "LUKS"},
		"length max":               {func(f *memFile) { f.put64(ext+16, 1<<64-1) }, ErrInvalid, "too large"},
		"length 0":                 {func(f *memFile) { f.put64(ext+16, 0) }, luks.ErrInvalid, "outside"},
		"cut key material":         {func(f *memFile) { f.put64(ext+16, 8192) }, luks.ErrInvalid, "outside"},
		"key material far out":     {func(f *memFile) { f.put32(header+208+40, 1<<31); f.put32(header+104, 1<<32-1) }, luks.ErrInvalid, "outside"},
		"iterations 2^32-1":        {func(f *memFile) { f.put32(header+208+4, 1<<32-1) }, luks.ErrInvalid, "4294967295 iterations"},
		"iterations 0":             {func(f *memFile) { f.put32(header+208+4, 0) }, luks.ErrInvalid, "iteration count of zero"},
		"stripes 0":                {func(f *memFile) { f.put32(header+208+44, 0) }, luks.ErrInvalid, "0 stripes"},
		"slots overlap":            {func(f *memFile) { f.put32(header+256+40, 9) }, luks.ErrInvalid, "overlap"},
		"unknown cipher":           {func(f *memFile) { f.data[header+8] = 'b' }, luks.ErrUnsupported, `"bes"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := good.reopened()
			tt.edit(f)
			_, err := Open(f, Options{Secret: secret("secret")})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %v in one line with %q", err, tt.want, tt.text)
			}
		})
	}
	t.Run("check counts the header", func(t *testing.T) {
		f := good.reopened()
		f.put64(ext+8, 1<<40)
		im, err := Open(f, Options{NoSecret: true, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := im.Check(CheckOptions{}); err != nil || res.Corruptions == 0 || res.Leaks == 0 {
			t.Errorf("%+v, %v", res, err)
		}
	})
	t.Run("data in the key material", func(t *testing.T) {
		im, err := Open(good.reopened(), Options{Secret: secret("secret")})
		if err != nil {
			t.Fatal(err)
		}
		table := int64(im.l1[0] & entryOffset)
		f := good.reopened()
		f.put64(table, uint64(header+65536)|entryCopied)
		if im, err = Open(f, Options{Secret: secret("secret")}); err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(f.data[header : header+2<<20])
		if err := im.WriteV(pattern(1, 512), 0); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "the encryption header") {
			t.Errorf("write: %v", err)
		}
		if !bytes.Equal(before, f.data[header:header+2<<20]) {
			t.Error("key material was overwritten")
		}
	})
}

// TestEncryptionHeaderSurvives rewrites the image's header in every way.
func TestEncryptionHeaderSurvives(t *testing.T) {
	d := newDisk(t, encryptedConfigs()[2], rand.New(rand.NewPCG(1, 2)))
	if _, err := d.im.CreateSnapshot(SnapshotOptions{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if err := d.im.DeleteSnapshot("s"); err != nil {
		t.Fatal(err)
	}
	if err := d.im.Resize(3 * mib); err != nil {
		t.Fatal(err)
	}
	if err := d.im.replaceHeader(d.im.hdr); err != nil {
		t.Fatal(err)
	}
	d.model = append(d.model, make([]byte, 3*mib-int64(len(d.model)))...)
	d.reopen()
	d.compare()
	if res, err := d.im.Check(CheckOptions{Repair: RepairAll}); err != nil || !res.Clean() {
		t.Errorf("%+v, %v", res, err)
	}
	d.compare()
}

// addKey makes a key slot of an image open with one more passphrase.
func addKey(im *Image, slot int, secret []byte, p luks.KeyParams) (int, error) {
	err := im.ChangeKeys(func(v *luks.Volume) (err error) {
		slot, err = v.AddKey(slot, secret, p)
		return err
	})
	return slot, err
}

// eraseKey erases a key slot.
func eraseKey(im *Image, slot int, force bool) error {
	return im.ChangeKeys(func(v *luks.Volume) error { return v.EraseKey(slot, force) })
}

// eraseKeys erases the key slots that open with a passphrase.
func eraseKeys(im *Image, secret []byte, force bool) (list []int, err error) {
	err = im.ChangeKeys(func(v *luks.Volume) (err error) {
		list, err = v.EraseMatching(secret, force)
		return err
	})
	return list, err
}
