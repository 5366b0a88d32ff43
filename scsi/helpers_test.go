package scsi

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"
)

// memory is a Medium in memory. It fails the test when a Unit breaks the
// promises that Medium makes to its implementations, and it knows what a crash
// of the host would leave.
type memory struct {
	t     testing.TB
	block int64 // all offsets and lengths are multiples

	mu        sync.Mutex
	data      []byte
	durable   []byte // what a Flush has saved
	calls     []string
	flushes   int
	failures  map[string]error // by method
	during    func()           // runs in each call
	afterRead func()           // runs after each ReadV

	readOnly, discard, zeroes bool
}

func (m *memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data))
}

// resize changes the size, as a management operation does.
func (m *memory) resize(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = append(m.data[:min(n, len(m.data))], make([]byte, max(0, n-len(m.data)))...)
	m.durable = slices.Clone(m.data)
}

// enter locks the medium, checks the range and reports the failure to inject.
func (m *memory) enter(method string, off, n int64) ([]byte, error) {
	m.mu.Lock()
	m.calls = append(m.calls, method)
	if off < 0 || n <= 0 || off%m.block != 0 || n%m.block != 0 || off > int64(len(m.data))-n {
		m.t.Errorf("%s of %d bytes at %d: not whole blocks within %d bytes", method, n, off, len(m.data))
		return nil, bytes.ErrTooLarge
	}
	if m.during != nil {
		m.during()
	}
	if err := m.failures[method]; err != nil {
		return nil, err
	}
	return m.data[off : off+n], nil
}

func (m *memory) vector(method string, bufs [][]byte, off int64) ([]byte, error) {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return m.enter(method, off, int64(n))
}

func (m *memory) ReadV(bufs [][]byte, off int64) error {
	err := m.readV(bufs, off)
	if m.afterRead != nil {
		m.afterRead()
	}
	return err
}

func (m *memory) readV(bufs [][]byte, off int64) error {
	defer m.mu.Unlock()
	p, err := m.vector("ReadV", bufs, off)
	if err != nil {
		return err
	}
	for _, b := range bufs {
		p = p[copy(b, p):]
	}
	return nil
}

func (m *memory) WriteV(bufs [][]byte, off int64) error {
	defer m.mu.Unlock()
	p, err := m.vector("WriteV", bufs, off)
	if err != nil {
		return err
	}
	for _, b := range bufs {
		p = p[copy(p, b):]
	}
	return nil
}

func (m *memory) WriteZeroes(off, n int64, unmap bool) error {
	defer m.mu.Unlock()
	method := "WriteZeroes"
	if unmap {
		method = "WriteZeroes+unmap"
	}
	p, err := m.enter(method, off, n)
	clear(p)
	return err
}

func (m *memory) Discard(off, n int64) error {
	defer m.mu.Unlock()
	p, err := m.enter("Discard", off, n)
	clear(p)
	return err
}

func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, "Flush")
	if err := m.failures["Flush"]; err != nil {
		return err
	}
	m.flushes++
	m.durable = append(m.durable[:0], m.data...)
	return nil
}

func (m *memory) ReadOnly() bool      { return m.readOnly }
func (m *memory) CanDiscard() bool    { return m.discard }
func (m *memory) DiscardZeroes() bool { return m.zeroes }

// Allocated makes memory a Mapper: it has storage for all that it holds.
func (m *memory) Allocated(_, n int64) (bool, int64, error) { return true, n, nil }

// fail makes a method return err from now on, or work again if err is nil.
func (m *memory) fail(method string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failures == nil {
		m.failures = map[string]error{}
	}
	m.failures[method] = err
}

// called returns the calls since the last time, but for those of Size.
func (m *memory) called() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

// isDurable reports whether a crash would lose nothing.
func (m *memory) isDurable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Equal(m.data, m.durable)
}

// testBlocks is the capacity of test units in logical blocks.
const testBlocks = 1024

// newUnit returns a unit with testBlocks blocks in memory that can discard, after
// change has had its way with the configuration.
func newUnit(t testing.TB, change func(*UnitConfig, *memory)) (*Unit, *memory) {
	t.Helper()
	m := &memory{t: t, discard: true, zeroes: true}
	c := UnitConfig{
		Medium:    m,
		BlockSize: 512,
		Identity: Identity{
			Vendor: "GOVMM", Product: "Virtual Drive", Revision: "1.00", Serial: "0123456789",
			NAA: []byte{0x60, 0x06, 0x05, 0xB0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		},
		RotationRate: 1,
		Initiator:    0x500605B000000001,
		Health: Health{
			Temperature:          func() int { return 37 },
			ReferenceTemperature: 60,
			PowerOn:              func() time.Duration { return 100*time.Hour + 5*time.Minute },
			Ports:                []SASPort{{Address: 0x5000C50000000002, Attached: 0x500605B000000001, AttachedPhy: 3, LinkRate: 10}},
		},
	}
	if change != nil {
		change(&c, m)
	}
	m.block = int64(c.BlockSize)
	if m.data == nil {
		m.data = make([]byte, testBlocks*m.block)
	}
	m.durable = slices.Clone(m.data)
	u, err := NewUnit(c)
	if err != nil {
		t.Fatal(err)
	}
	return u, m
}

// run executes a CDB with the given buffers.
func run(u *Unit, cdb []byte, data ...[]byte) *Command {
	c := &Command{CDB: cdb, Data: data}
	u.Execute(c)
	return c
}

// wantGood checks that a command succeeded and moved n bytes.
func wantGood(t testing.TB, c *Command, n int) {
	t.Helper()
	if c.Status != StatusGood || c.Sense != nil || c.Err != nil || c.Transferred != n {
		t.Errorf("%v; want GOOD with %d bytes", c, n)
	}
}

// wantSense checks that a command failed with the given sense data and moved
// nothing.
func wantSense(t testing.TB, c *Command, want Sense) {
	t.Helper()
	got, ok := ParseSense(c.Sense)
	wholeSense := len(c.Sense) == SenseSize && c.Sense[0]&0x7F == responseFixed ||
		len(c.Sense) >= 8 && len(c.Sense) == 8+int(c.Sense[7]) && c.Sense[0] == responseDescriptor
	if c.Status != StatusCheckCondition || !ok || !wholeSense || c.Transferred != 0 {
		t.Errorf("%v; want CHECK CONDITION with %v", c, want)
		return
	}
	if got != want {
		t.Errorf("%s: %+v, want %+v", CommandName(c.CDB), got, want)
	}
}

// inCDB is the sense data for a field of the CDB that is not valid.
func inCDB(at uint16, bit uint8) Sense {
	return Sense{Key: KeyIllegalRequest, Code: ASCInvalidFieldInCDB,
		Field: FieldPointer{In: InCDB, Byte: at, Bit: bit, HasBit: true}}
}

func illegal(code ASC) Sense { return Sense{Key: KeyIllegalRequest, Code: code} }

// cdb6 to cdb16 build CDBs of a group from an address, a length and byte 1.
func cdb6(op Opcode, lba uint32, n uint8) []byte {
	b := []byte{0, 0, 0, 0, n, 0}
	binary.BigEndian.PutUint32(b, lba)
	b[0] = byte(op)
	return b
}

func cdb10(op Opcode, flags byte, lba uint32, n uint16) []byte {
	b := make([]byte, 10)
	b[0], b[1] = byte(op), flags
	binary.BigEndian.PutUint32(b[2:], lba)
	binary.BigEndian.PutUint16(b[7:], n)
	return b
}

func cdb12(op Opcode, flags byte, lba, n uint32) []byte {
	b := make([]byte, 12)
	b[0], b[1] = byte(op), flags
	binary.BigEndian.PutUint32(b[2:], lba)
	binary.BigEndian.PutUint32(b[6:], n)
	return b
}

func cdb16(op Opcode, flags byte, lba uint64, n uint32) []byte {
	b := make([]byte, 16)
	b[0], b[1] = byte(op), flags
	binary.BigEndian.PutUint64(b[2:], lba)
	binary.BigEndian.PutUint32(b[10:], n)
	return b
}

// pattern returns n bytes that differ from place to place and with seed.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8)*7 ^ seed
	}
	return p
}
