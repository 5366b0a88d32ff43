package scsi

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// iscsiTarget puts a Unit onto a TCP port as iSCSI does (RFC 7143), so that a
// conformance suite can be run against it that needs no kernel. It has what that
// takes: sessions of one connection without authentication, digests and recovery
// (ErrorRecoveryLevel 0), LUN 0, and the functions of task management that need no
// other initiator.
//
// All sessions are the same initiator to the Unit, which knows only one.
type iscsiTarget struct {
	t     testing.TB
	unit  *Unit
	lis   net.Listener
	conns sync.WaitGroup
}

// iscsiName is the name of the target.
const iscsiName = "iqn.2024-01.org.govmm:unit"

func newISCSITarget(t testing.TB, u *Unit) *iscsiTarget {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &iscsiTarget{t: t, unit: u, lis: lis}
	x.conns.Go(x.accept)
	t.Cleanup(func() {
		_ = lis.Close()
		x.conns.Wait()
	})
	return x
}

// url is the target's LUN as libiscsi writes it.
func (x *iscsiTarget) url() string { return fmt.Sprintf("iscsi://%v/%s/0", x.lis.Addr(), iscsiName) }

func (x *iscsiTarget) accept() {
	for {
		conn, err := x.lis.Accept()
		if err != nil {
			return
		}
		s := &iscsiSession{x: x, conn: conn, tasks: map[uint32]*iscsiTask{}, segment: 8192, burst: iscsiBurst}
		x.conns.Go(s.serve)
	}
}

// Opcodes of iSCSI.
const (
	iscsiNOPOut       = 0x00
	iscsiCommand      = 0x01
	iscsiTaskRequest  = 0x02
	iscsiLogin        = 0x03
	iscsiDataOut      = 0x05
	iscsiLogout       = 0x06
	iscsiNOPIn        = 0x20
	iscsiResponse     = 0x21
	iscsiTaskResponse = 0x22
	iscsiLoginAnswer  = 0x23
	iscsiDataIn       = 0x25
	iscsiLogoutAnswer = 0x26
	iscsiR2T          = 0x31
	iscsiReject       = 0x3F
)

const (
	iscsiFinal     = 0x80 // F, in byte 1 of a PDU
	iscsiImmediate = 0x40 // I, in byte 0
	iscsiNoTag     = 1<<32 - 1
	iscsiWindow    = 32      // commands
	iscsiBurst     = 1 << 18 // bytes of MaxBurstLength
	iscsiNoTask    = 1       // TASK DOES NOT EXIST
)

// iscsiHeader is the basic header segment of a PDU.
type iscsiHeader [48]byte

func (h *iscsiHeader) op() byte             { return h[0] & 0x3F }
func (h *iscsiHeader) u32(at int) uint32    { return binary.BigEndian.Uint32(h[at:]) }
func (h *iscsiHeader) put(at int, v uint32) { binary.BigEndian.PutUint32(h[at:], v) }

// iscsiSession is a session, which has one connection.
type iscsiSession struct {
	x       *iscsiTarget
	conn    net.Conn
	segment int // the initiator's MaxRecvDataSegmentLength
	burst   int

	running sync.WaitGroup // commands

	mu       sync.Mutex
	expected uint32                // ExpCmdSN
	status   uint32                // StatSN
	tasks    map[uint32]*iscsiTask // by initiator task tag, until the response
}

// iscsiTask is a SCSI command.
type iscsiTask struct {
	header  iscsiHeader
	data    []byte // what came for it; its capacity is for all that is moved
	dataSN  uint32 // expected next
	aborted bool
}

func (s *iscsiSession) serve() {
	defer s.conn.Close()
	defer s.running.Wait()
	in := bufio.NewReader(s.conn)
	var segment []byte
	for {
		var h iscsiHeader
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return
		}
		n := int(h[5])<<16 | int(h[6])<<8 | int(h[7])
		segment = slices.Grow(segment[:0], int(h[4])+n+3)
		p := segment[:(int(h[4])+n+3)/4*4]
		if _, err := io.ReadFull(in, p); err != nil {
			return
		}
		if !s.handle(&h, p[h[4]:int(h[4])+n]) {
			return
		}
	}
}

// handle handles a PDU, and reports false if the connection ends with it.
func (s *iscsiSession) handle(h *iscsiHeader, data []byte) bool {
	if h.op() != iscsiLogin && h.op() != iscsiDataOut && !s.inOrder(h) {
		return true
	}
	switch h.op() {
	case iscsiLogin:
		return s.login(h, string(data))
	case iscsiNOPOut:
		if h.u32(16) != iscsiNoTag {
			s.send(s.answer(iscsiNOPIn, h), data)
		}
	case iscsiCommand:
		task := &iscsiTask{header: *h}
		task.data = append(make([]byte, 0, max(task.length(), s.wanted(h[32:48]))), data...)
		s.mu.Lock()
		s.tasks[h.u32(16)] = task
		s.mu.Unlock()
		s.proceed(task)
	case iscsiDataOut:
		return s.dataOut(h, data)
	case iscsiTaskRequest:
		return s.manage(h)
	case iscsiLogout:
		s.running.Wait()
		s.send(s.answer(iscsiLogoutAnswer, h), nil)
		return false
	default:
		s.x.t.Errorf("iSCSI opcode %#x", h.op())
		return false
	}
	return true
}

// inOrder reports whether a PDU's CmdSN is one that may come now; others are
// ignored without a word.
func (s *iscsiSession) inOrder(h *iscsiHeader) bool {
	if h[0]&iscsiImmediate != 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.u32(24) != s.expected {
		return false
	}
	s.expected++
	return true
}

// answer is the header of an answer to h.
func (s *iscsiSession) answer(op byte, h *iscsiHeader) *iscsiHeader {
	a := &iscsiHeader{0: op, 1: iscsiFinal}
	copy(a[16:20], h[16:20])
	if op == iscsiNOPIn {
		a.put(20, iscsiNoTag)
	}
	return a
}

// send sends a PDU, with a status number of its own, but for data and R2T.
func (s *iscsiSession) send(h *iscsiHeader, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.put(24, s.status)
	if h.op() != iscsiDataIn && h.op() != iscsiR2T {
		s.status++
	}
	h.put(28, s.expected)
	h.put(32, s.expected+iscsiWindow-1)
	h[5], h[6], h[7] = byte(len(data)>>16), byte(len(data)>>8), byte(len(data))
	p := net.Buffers{h[:], data, make([]byte, -len(data)&3)}
	_, _ = p.WriteTo(s.conn) // who has gone does not hear it
}

// login answers a login request: whatever is offered, the simplest is taken.
func (s *iscsiSession) login(h *iscsiHeader, text string) bool {
	s.mu.Lock()
	s.expected = h.u32(24)
	s.mu.Unlock()
	chosen := map[string]string{
		"AuthMethod": "None", "HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "Yes",
		"ImmediateData": "Yes", "MaxConnections": "1", "MaxOutstandingR2T": "1", "ErrorRecoveryLevel": "0",
		"DataPDUInOrder": "Yes", "DataSequenceInOrder": "Yes", "DefaultTime2Wait": "2",
		"DefaultTime2Retain": "0", "MaxBurstLength": strconv.Itoa(iscsiBurst),
		"FirstBurstLength": strconv.Itoa(iscsiBurst), "MaxRecvDataSegmentLength": strconv.Itoa(iscsiBurst),
	}
	var reply strings.Builder
	for pair := range strings.SplitSeq(strings.TrimRight(text, "\x00"), "\x00") {
		key, value, _ := strings.Cut(pair, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "MaxRecvDataSegmentLength":
			s.segment = n
		case "MaxBurstLength":
			s.burst = min(n, iscsiBurst)
			chosen[key] = strconv.Itoa(s.burst)
		case "FirstBurstLength":
			chosen[key] = strconv.Itoa(min(n, iscsiBurst))
		}
		if v, ok := chosen[key]; ok {
			reply.WriteString(key + "=" + v + "\x00")
		}
	}
	a := s.answer(iscsiLoginAnswer, h)
	a[1] = h[1] // the stage that is proposed
	if stage := h[1] >> 2 & 3; stage == 0 {
		reply.WriteString("TargetPortalGroupTag=1\x00")
	}
	copy(a[8:14], h[8:14]) // ISID
	a[15] = 1              // TSIH
	s.send(a, []byte(reply.String()))
	return true
}

// isWrite reports whether a command's data comes from the initiator.
func (k *iscsiTask) isWrite() bool { return k.header[1]&0x20 != 0 }

// length is the expected data transfer length.
func (k *iscsiTask) length() int { return int(k.header.u32(20)) }

// proceed asks for the rest of a command's data, or runs it.
func (s *iscsiSession) proceed(k *iscsiTask) {
	if have := len(k.data); k.isWrite() && have < k.length() {
		k.dataSN = 0
		a := s.answer(iscsiR2T, &k.header)
		copy(a[8:16], k.header[8:16])
		a.put(20, 1) // target transfer tag
		a.put(40, uint32(have))
		a.put(44, uint32(min(k.length()-have, s.burst)))
		s.send(a, nil)
		return
	}
	s.running.Go(func() { s.run(k) })
}

// dataOut takes data that was asked for. Data that is out of order ends the
// session, as it may at this level of recovery.
func (s *iscsiSession) dataOut(h *iscsiHeader, data []byte) bool {
	s.mu.Lock()
	k := s.tasks[h.u32(16)]
	s.mu.Unlock()
	if k == nil {
		return true // aborted
	}
	if h.u32(36) != k.dataSN || int(h.u32(40)) != len(k.data) || len(k.data)+len(data) > k.length() {
		return false
	}
	k.dataSN++
	k.data = append(k.data, data...)
	if h[1]&iscsiFinal != 0 {
		s.proceed(k)
	}
	return true
}

// wanted is how many bytes of data the CDB of a command says, or 0.
func (s *iscsiSession) wanted(cdb []byte) int {
	switch Opcode(cdb[0]) {
	case OpRead6, OpRead10, OpRead12, OpRead16, OpWrite6, OpWrite10, OpWrite12, OpWrite16,
		OpWriteAndVerify10, OpWriteAndVerify12, OpWriteAndVerify16:
		return min(int(cdbExtent(cdb).blocks), 1<<16) * int(s.x.unit.BlockSize())
	}
	return 0
}

// run carries out a command and tells the outcome.
func (s *iscsiSession) run(k *iscsiTask) {
	cdb := k.header[32:48]
	data := k.data[:cap(k.data)]
	c := Command{CDB: cdb, LUN: k.header[9], Data: [][]byte{data}}
	s.x.unit.Execute(&c)
	moved := c.Transferred
	s.mu.Lock()
	delete(s.tasks, k.header.u32(16))
	gone := k.aborted
	s.mu.Unlock()
	if gone {
		return
	}
	a := s.answer(iscsiResponse, &k.header)
	if !k.isWrite() {
		a.put(36, s.dataIn(k, data[:min(moved, k.length())]))
	}
	switch more := moved - k.length(); {
	case more > 0:
		a[1] |= 0x04 // overflow
		a.put(44, uint32(more))
	case more < 0:
		a[1] |= 0x02 // underflow
		a.put(44, uint32(-more))
	}
	a[3] = byte(c.Status)
	var sense []byte
	if len(c.Sense) > 0 {
		sense = append(binary.BigEndian.AppendUint16(nil, uint16(len(c.Sense))), c.Sense...)
	}
	s.send(a, sense)
}

// dataIn sends data to the initiator, and returns the number of PDUs.
func (s *iscsiSession) dataIn(k *iscsiTask, data []byte) (n uint32) {
	for at := 0; at < len(data); n++ {
		end := min(at+s.segment, len(data))
		a := s.answer(iscsiDataIn, &k.header)
		if end < len(data) {
			a[1] = 0
		}
		a.put(20, iscsiNoTag)
		a.put(36, n)
		a.put(40, uint32(at))
		s.send(a, data[at:end])
		at = end
	}
	return n
}

// manage carries out a task management function.
func (s *iscsiSession) manage(h *iscsiHeader) bool {
	a := s.answer(iscsiTaskResponse, h)
	switch h[1] & 0x7F {
	case 1: // ABORT TASK: what it does goes on, but nobody is told
		s.mu.Lock()
		k := s.tasks[h.u32(20)]
		if k == nil {
			a[2] = iscsiNoTask
		} else {
			k.aborted = true
			delete(s.tasks, h.u32(20))
		}
		s.mu.Unlock()
	case 5, 6, 7: // LOGICAL UNIT RESET, TARGET WARM and COLD RESET
		s.mu.Lock()
		for _, k := range s.tasks {
			k.aborted = true
		}
		clear(s.tasks)
		s.mu.Unlock()
		s.x.unit.Reset()
	default:
		a[2] = 5 // not supported
	}
	s.send(a, nil)
	return true
}
