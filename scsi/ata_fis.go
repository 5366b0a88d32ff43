package scsi

// FIS is a register FIS of SATA: from the host with a command, or from the drive
// with what has become of it.
type FIS [20]byte

// Places in a register FIS.
const (
	fisType     = 0
	fisFlags    = 1
	fisCommand  = 2 // or status
	fisFeature  = 3 // or error
	fisFromHost = 0x27
	fisToHost   = 0x34
)

// FISReadOnly reports whether a command asks a drive about itself and changes
// nothing on it.
func FISReadOnly(f FIS) bool { return ataReadOnly(f[fisCommand]) }

// FISFailed reports whether a FIS from the drive tells of an error.
func FISFailed(f FIS) bool { return f[fisCommand]&ataError != 0 }

// ExecuteFIS carries out the ATA command of a FIS on a SATA drive, with its data
// in c.Data, and returns the drive's. c's CDB and LUN are not looked at; of its
// outcome there are Transferred and Err.
func (u *Unit) ExecuteFIS(c *Command, f FIS) FIS {
	c.begin()
	p := passThrough{bytes: 1}
	p.status = ataReady
	p.command, p.device = f[fisCommand], f[7]
	p.feature = uint16(f[fisFeature]) | uint16(f[11])<<8
	p.count = uint16(f[12]) | uint16(f[13])<<8
	for i, at := range []int{4, 5, 6, 8, 9, 10} {
		p.lba |= uint64(f[at]) << (8 * i)
	}
	p.protocol, p.bytes = ataNonData, 0
	known := f[fisType] == fisFromHost && f[fisFlags]&0x80 != 0 && isATA(u)
	for i := range ataCommands {
		x := &ataCommands[i]
		if x.code != p.command {
			continue
		}
		p.extended, p.moves = x.extended, x.moves
		if x.code == ataSMARTCommand {
			p.moves = smartMoves(p.feature)
		}
		if p.moves != ataNothing {
			p.protocol, p.bytes = ataPIOIn, 1
		}
	}
	if !p.extended {
		p.feature, p.count, p.lba = p.feature&0xFF, p.count&0xFF, p.lba&0xFFFFFF
	}
	if !known {
		p.abort()
	} else if s := u.ataExecute(c, &p); !s.OK() && p.status&ataError == 0 {
		p.abort()
	}
	back := FIS{fisType: fisToHost, fisFlags: 0x40, fisCommand: p.status, fisFeature: p.error, 7: p.device,
		12: byte(p.count), 13: byte(p.count >> 8)}
	for i, at := range []int{4, 5, 6, 8, 9, 10} {
		back[at] = byte(p.lba >> (8 * i))
	}
	return back
}
