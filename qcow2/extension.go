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

// parseExtensions decodes the extension area [at, end) of the first cluster, b: what lies
// between the header and the backing file name, or the end of the cluster.
func parseExtensions(b []byte, at, end int64) ([]extension, error) {
	var exts []extension
	for at < end && at <= int64(len(b))-8 {
		kind := binary.BigEndian.Uint32(b[at:])
		n := int64(binary.BigEndian.Uint32(b[at+4:]))
		if kind == extEnd {
			break
		}
		if at += 8; n > end-at {
			return nil, invalid("Header extension too large", "type %#x, length %d, room for %d", kind, n, max(end-at, 0))
		}
		if kind == extBackingFormat && n > maxFormatName {
			return nil, invalid(fmt.Sprintf("ERROR: ext_backing_format: len=%d too large (>=%d)", n, maxFormatName+1), "at most %d", maxFormatName)
		}
		exts = append(exts, extension{kind, append([]byte(nil), b[at:at+n]...)})
		at += (n + 7) &^ 7
	}
	return exts, nil
}

// maxFormatName is the longest name of a backing file's format, in bytes.
const maxFormatName = 15

func appendExtension(b []byte, kind uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&7)...)
}
