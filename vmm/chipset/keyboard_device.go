package chipset

// Commands to the keyboard and its answers.
const (
	keysSetLEDs   = 0xED
	keysEcho      = 0xEE
	keysScanSet   = 0xF0
	keysIdentify  = 0xF2
	keysSetRate   = 0xF3
	keysEnable    = 0xF4
	keysDisable   = 0xF5
	keysDefaults  = 0xF6
	keysReset     = 0xFF
	keysAck       = 0xFA
	keysTestOK    = 0xAA
	keysResend    = 0xFE
	keysID        = 0xAB // of an enhanced keyboard: two bytes
	keysIDLow     = 0x83
	keysIDLowXlat = 0x41 // the same after translation to scan code set 1
	keysMaxSet    = 3
	keysUsualSet  = 2
)

// keyboard is the device at the other end of the cable.
type keyboard struct {
	last byte // the command that waits for its parameter, 0 for none
	set  byte // the scan code set, 0 for the usual one

	disabled bool // keys that are pressed are not reported
}

// command takes a byte and returns the answer. With translate, the controller
// translates what the keyboard says.
func (k *keyboard) command(v byte, translate bool) []byte {
	last := k.last
	k.last = 0
	switch last {
	case keysScanSet:
		return k.scanSet(v)
	case keysSetLEDs, keysSetRate:
		return []byte{keysAck}
	}
	switch v {
	case keysSetLEDs, keysScanSet, keysSetRate:
		k.last = v
		return []byte{keysAck}
	case keysEcho:
		return []byte{keysEcho}
	case keysIdentify:
		if translate {
			return []byte{keysAck, keysID, keysIDLowXlat}
		}
		return []byte{keysAck, keysID, keysIDLow}
	case keysEnable, keysDisable:
		k.disabled = v == keysDisable
		return []byte{keysAck}
	case keysDefaults:
		k.set = 0
		return []byte{keysAck}
	case keysReset:
		k.set, k.disabled = 0, false
		return []byte{keysAck, keysTestOK}
	}
	return []byte{keysResend}
}

// scanSet is the parameter of the scan set command: a set, or 0 to ask for it.
func (k *keyboard) scanSet(v byte) []byte {
	switch {
	case v == 0 && k.set == 0:
		return []byte{keysAck, keysUsualSet}
	case v == 0:
		return []byte{keysAck, k.set}
	case v <= keysMaxSet:
		k.set = v
		return []byte{keysAck}
	}
	return []byte{keysResend}
}
