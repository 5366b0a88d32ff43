package chipset

// Prefixes of scan codes.
const (
	extendedPrefix = 0xE0
	releaseSet2    = 0xF0
	releaseSet1    = 0x80
)

// set2 is the scan code of set 2 for one of set 1, without prefixes, as keyboards
// have them (IBM PS/2 Technical Reference, Keyboards). The i8042 translates the
// other way. 0 is a code that no key has.
var set2 = [128]byte{
	0x01: 0x76, 0x16, 0x1E, 0x26, 0x25, 0x2E, 0x36, 0x3D, 0x3E, 0x46, 0x45, 0x4E, 0x55, 0x66, 0x0D,
	0x10: 0x15, 0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D, 0x54, 0x5B, 0x5A, 0x14, 0x1C, 0x1B,
	0x20: 0x23, 0x2B, 0x34, 0x33, 0x3B, 0x42, 0x4B, 0x4C, 0x52, 0x0E, 0x12, 0x5D, 0x1A, 0x22, 0x21, 0x2A,
	0x30: 0x32, 0x31, 0x3A, 0x41, 0x49, 0x4A, 0x59, 0x7C, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0C, 0x03,
	0x40: 0x0B, 0x83, 0x0A, 0x01, 0x09, 0x77, 0x7E, 0x6C, 0x75, 0x7D, 0x7B, 0x6B, 0x73, 0x74, 0x79, 0x69,
	0x50: 0x72, 0x7A, 0x70, 0x71, 0x84, 0x00, 0x61, 0x78, 0x07,
}

// longestKey is the most bytes that a key sends at once.
const longestKey = 3

// Key presses or releases a key: code is of scan code set 1, without the bit for
// the release, and extended says that it has the prefix E0. The guest gets what the
// keyboard and the controller, as they are set, make of it. Key reports false where
// there is no room for that at the moment, or the guest keeps the keyboard from
// talking; a key of a keyboard that was told not to scan is lost.
func (k *Keyboard) Key(code uint8, extended, up bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys.disabled {
		return true
	}
	if k.control&controlNoKeyboard != 0 || len(k.queue)+longestKey > queueSize {
		return false
	}
	defer k.settle()
	code &^= releaseSet1
	if extended {
		k.say(fromKeyboard, extendedPrefix)
	}
	if k.control&controlTranslate != 0 || k.keys.set == 1 {
		if up {
			code |= releaseSet1
		}
		k.say(fromKeyboard, code)
		return true
	}
	if up {
		k.say(fromKeyboard, releaseSet2)
	}
	k.say(fromKeyboard, set2[code])
	return true
}
