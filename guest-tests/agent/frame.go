package agent

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame on the wire, integers little-endian:
//
//	offset  size  field
//	0       2     magic "GA"
//	2       1     version, 1
//	3       1     flags; bit 0: the payload is compressed (raw DEFLATE)
//	4       4     length of the payload in bytes, as sent
//	8       4     CRC-32 (IEEE) of the payload as sent
//	12      -     payload
//
// The payload, uncompressed, is a count of attachments (1 byte), the length of
// the JSON header and of each attachment (4 bytes each), then their bytes.
const (
	frameHeaderSize = 12
	frameVersion    = 1
	flagCompressed  = 1 << 0

	// maxPayload bounds what either side will hold for one frame.
	maxPayload = 64 << 20
	// compressFrom is the size in bytes from which compression is tried.
	compressFrom = 256
)

var errFrame = errors.New("damaged frame on the agent channel")

// writeFrame sends header as JSON together with the attachments.
func writeFrame(w io.Writer, header any, attachments ...[]byte) error {
	js, err := json.Marshal(header)
	if err != nil {
		return err
	}
	payload := []byte{byte(len(attachments))}
	payload = binary.LittleEndian.AppendUint32(payload, uint32(len(js)))
	for _, a := range attachments {
		payload = binary.LittleEndian.AppendUint32(payload, uint32(len(a)))
	}
	payload = append(payload, js...)
	for _, a := range attachments {
		payload = append(payload, a...)
	}
	if len(payload) > maxPayload {
		return fmt.Errorf("message of %d bytes is larger than %d", len(payload), maxPayload)
	}

	var flags byte
	if packed, ok := compress(payload); ok {
		payload, flags = packed, flagCompressed
	}
	frame := make([]byte, 0, frameHeaderSize+len(payload))
	frame = append(frame, 'G', 'A', frameVersion, flags)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(payload)))
	frame = binary.LittleEndian.AppendUint32(frame, crc32.ChecksumIEEE(payload))
	frame = append(frame, payload...)
	_, err = w.Write(frame)
	return err
}

// readFrame receives a frame, decodes its JSON into header and returns the
// attachments. io.EOF means that the stream ended between two frames.
func readFrame(r io.Reader, header any) ([][]byte, error) {
	var head [frameHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if string(head[:2]) != "GA" || head[2] != frameVersion {
		return nil, fmt.Errorf("%w: starts with % x", errFrame, head[:4])
	}
	size := binary.LittleEndian.Uint32(head[4:])
	if size > maxPayload {
		return nil, fmt.Errorf("%w: %d bytes long", errFrame, size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, fmt.Errorf("%w: cut short: %w", errFrame, err)
	}
	if got, want := crc32.ChecksumIEEE(payload), binary.LittleEndian.Uint32(head[8:]); got != want {
		return nil, fmt.Errorf("%w: checksum %#08x, should be %#08x", errFrame, got, want)
	}
	if head[3]&flagCompressed != 0 {
		var err error
		fr := flate.NewReader(bytes.NewReader(payload))
		if payload, err = io.ReadAll(io.LimitReader(fr, maxPayload+1)); err != nil {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
		if len(payload) > maxPayload {
			return nil, fmt.Errorf("%w: more than %d bytes", errFrame, maxPayload)
		}
	}
	return splitPayload(payload, header)
}

func splitPayload(p []byte, header any) ([][]byte, error) {
	if len(p) == 0 {
		return nil, fmt.Errorf("%w: empty", errFrame)
	}
	parts := make([][]byte, 1+int(p[0]))
	lengths, data := p[1:], []byte(nil)
	if len(lengths) < 4*len(parts) {
		return nil, fmt.Errorf("%w: lengths cut short", errFrame)
	}
	lengths, data = lengths[:4*len(parts)], lengths[4*len(parts):]
	for i := range parts {
		n := binary.LittleEndian.Uint32(lengths[4*i:])
		if uint64(n) > uint64(len(data)) {
			return nil, fmt.Errorf("%w: part %d of %d bytes, %d left", errFrame, i, n, len(data))
		}
		parts[i], data = data[:n:n], data[n:]
	}
	if err := json.Unmarshal(parts[0], header); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return parts[1:], nil
}

// compress returns p compressed, if that is worth it.
func compress(p []byte) ([]byte, bool) {
	if len(p) < compressFrom {
		return nil, false
	}
	var out bytes.Buffer
	// The level is valid and a bytes.Buffer takes every write: no errors.
	fw, _ := flate.NewWriter(&out, flate.BestCompression)
	fw.Write(p)
	fw.Close()
	return out.Bytes(), out.Len() < len(p)
}
