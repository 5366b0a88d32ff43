package luks

import (
	"bytes"
	"crypto/rand"
	"testing"
)

// TestFastXTSAgrees compares what the processor's own instructions make of
// sectors with what crypto/aes does.
func TestFastXTSAgrees(t *testing.T) {
	for _, n := range []int{32, 48, 64} {
		for range 50 {
			key, plain := make([]byte, n), make([]byte, 3*SectorSize)
			_, _ = rand.Read(key)
			_, _ = rand.Read(plain)
			c, err := newCipher(spec{mode: modeXTS, ivGen: ivPlain64, key: n}, key)
			if err != nil {
				t.Fatal(err)
			}
			if c.fast == nil {
				t.Skip("this processor has no instructions for AES that are used directly")
			}
			fast, slow := make([]byte, len(plain)), make([]byte, len(plain))
			c.Encrypt(fast, plain, 12345)
			back := bytes.Clone(fast)
			c.Decrypt(back, back, 12345)
			c.fast = nil
			c.Encrypt(slow, plain, 12345)
			if !bytes.Equal(fast, slow) || !bytes.Equal(back, plain) {
				t.Fatalf("key %x: the two differ", key)
			}
			c.Decrypt(slow, slow, 12345)
			if !bytes.Equal(slow, plain) {
				t.Fatalf("key %x: decrypted to something else", key)
			}
		}
	}
}
