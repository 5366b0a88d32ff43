package block

// Zeroes returns how many bytes bufs have, and whether all of them are 0.
func Zeroes(bufs [][]byte) (n int64, all bool) {
	for _, b := range bufs {
		if len(b) > 0 && (b[0] != 0 || string(b[1:]) != string(b[:len(b)-1])) {
			return 0, false
		}
		n += int64(len(b))
	}
	return n, true
}
