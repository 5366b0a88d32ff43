package qcow2

// PassDiscard says when storage that an image needs no more is given back to the
// host. Otherwise it stays in the file, and the image uses it again.
type PassDiscard uint8

// Classes of PassDiscard, as QEMU's options pass-discard-request, -snapshot and
// -other.
const (
	PassRequest  PassDiscard = 1 << iota // of requests: Discard, and WriteZeroes with unmap
	PassSnapshot                         // of snapshots that are deleted or applied
	PassOther                            // of clusters and tables that were replaced
	PassNone                             // never

	defaultPassDiscard = PassRequest | PassSnapshot
)

// With returns what p is with a class added or taken away. p may be 0, for the
// default.
func (p PassDiscard) With(class PassDiscard, on bool) PassDiscard {
	if p == 0 {
		p = defaultPassDiscard
	}
	if p &^= class | PassNone; on {
		return p | class
	}
	if p == 0 {
		return PassNone
	}
	return p
}

// passes reports whether storage of a class is given back.
func (im *Image) passes(class PassDiscard) bool { return im.passDiscard&class != 0 }
