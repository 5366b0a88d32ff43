package luks

import (
	"crypto/pbkdf2"
	"fmt"
	"math"
	"time"
)

// minIterations is the least number of PBKDF2 iterations that a slot and the
// digest of the master key get.
const minIterations = 1000

// DefaultIterTime is how long unlocking a new key slot shall take.
const DefaultIterTime = 2 * time.Second

// DefaultMaxIterations is the default of OpenOptions.MaxIterations.
const DefaultMaxIterations = 1 << 26

// derive makes n bytes of key from a passphrase.
func derive(hash string, secret, salt []byte, iterations uint32, n int) ([]byte, error) {
	if iterations > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d iterations", ErrInvalid, iterations)
	}
	return pbkdf2.Key(newHash(hash), string(secret), salt, int(iterations), n)
}

// iterationsFor measures how many iterations, for n bytes of key, this machine
// does in the given time.
func iterationsFor(hash string, n int, want time.Duration) (uint32, error) {
	const sample = 50 * time.Millisecond
	salt := make([]byte, saltSize)
	for count := uint32(1 << 12); ; count *= 4 {
		start := time.Now()
		if _, err := derive(hash, salt, salt, count, n); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if took < sample && count < 1<<28 {
			continue
		}
		total := float64(count) * float64(want) / float64(max(took, 1))
		return uint32(max(minIterations, min(total, math.MaxInt32))), nil
	}
}
