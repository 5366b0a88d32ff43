package qcow2

import (
	"encoding/binary"
	"fmt"
)

// Header extension types.
const (
	extEnd           = 0x00000000
	extBackingFormat = 0xe2792aca
	extFeatureNames  = 0x6803f857
	extBitmaps       = 0x23852875
	extCrypto        = 0x0537be77
	extDataFile      = 0x44415441
)

// extension is a header extension: known or not, it is kept as it was read, in
// the order of the image, and written back so.
type extension struct {
	kind uint32
	data []byte
}

// parseExtensions decodes the extension area: what lies between the header and
// the backing file name, or the end of the first cluster.
func parseExtensions(area []byte) ([]extension, error) {
	var exts []extension
	for len(area) >= 8 {
		kind := binary.BigEndian.Uint32(area)
		n := int64(binary.BigEndian.Uint32(area[4:]))
		if kind == extEnd {
			break
		}
		area = area[8:]
		if n > int64(len(area)) {
			return nil, fmt.Errorf("%w: header extension too large: type %#x, length %d, room for %d",
				ErrInvalid, kind, n, len(area))
		}
		if kind == extBackingFormat && n >= 16 {
			return nil, fmt.Errorf("%w: backing format name of %d bytes (at most 15)", ErrInvalid, n)
		}
		exts = append(exts, extension{kind, append([]byte(nil), area[:n]...)})
		area = area[min((n+7)&^7, int64(len(area))):]
	}
	return exts, nil
}

func appendExtension(b []byte, kind uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&7)...)
}
