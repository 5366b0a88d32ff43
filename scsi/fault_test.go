package scsi

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
)

var errBroken = errors.New("broken")

func TestMediumErrors(t *testing.T) {
	read, write := cdb10(OpRead10, 0, 9, 1), cdb10(OpWrite10, 0, 9, 1)
	sync := cdb10(OpSynchronizeCache10, 0, 0, 0)
	own := Sense{Key: KeyHardwareError, Code: ASCInternalTargetFailure, HasInfo: true, Info: 9}
	for _, c := range []struct {
		cdb    []byte
		method string
		err    error
		want   Sense
	}{
		{read, "ReadV", syscall.EIO, Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError}},
		{read, "ReadV", io.ErrUnexpectedEOF, Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError}},
		{read, "ReadV", os.ErrClosed, Sense{Key: KeyNotReady, Code: ASCNotReadyCauseNotReportable}},
		{read, "ReadV", syscall.ENOMEM, Sense{Key: KeyAbortedCommand, Code: ASCInsufficientResources}},
		{read, "ReadV", own, own},
		{write, "WriteV", syscall.EIO, Sense{Key: KeyMediumError, Code: ASCWriteError}},
		{write, "WriteV", syscall.ENOSPC, Sense{Key: KeyDataProtect, Code: ASCSpaceAllocationFailed}},
		{write, "WriteV", syscall.EDQUOT, Sense{Key: KeyDataProtect, Code: ASCSpaceAllocationFailed}},
		{write, "WriteV", syscall.EROFS, Sense{Key: KeyDataProtect, Code: ASCWriteProtected}},
		{write, "WriteV", Sense{}, Sense{Key: KeyMediumError, Code: ASCWriteError}},
		{write, "WriteV", own, own},
		{write, "Flush", syscall.EIO, Sense{Key: KeyMediumError, Code: ASCWriteError}},
		{write, "Flush", syscall.ENOSPC, Sense{Key: KeyDataProtect, Code: ASCSpaceAllocationFailed}},
		{sync, "Flush", syscall.EIO, Sense{Key: KeyMediumError, Code: ASCWriteError}},
	} {
		for _, err := range []error{c.err, &os.PathError{Op: "pwritev", Path: "disk.qcow2", Err: c.err}, fmt.Errorf("cluster 7: %w", c.err)} {
			u, m := newUnit(t, nil)
			m.fail(c.method, err)
			got := run(u, c.cdb, make([]byte, 512))
			wantSense(t, got, c.want)
			if !errors.Is(got.Err, err) {
				t.Errorf("%s: Err = %v, want %v", CommandName(c.cdb), got.Err, err)
			}
			m.fail(c.method, nil)
			u.Execute(got)
			if got.Status != StatusGood || got.Sense != nil || got.Err != nil {
				t.Errorf("after the error: %v", got)
			}
		}
	}
}

// A medium may change its size while commands run.
func TestMediumShrinks(t *testing.T) {
	u, m := newUnit(t, nil)
	m.resize(10 * 512)
	wantSense(t, run(u, cdb10(OpRead10, 0, 10, 1), make([]byte, 512)), illegal(ASCLBAOutOfRange))
	wantGood(t, run(u, cdb10(OpRead10, 0, 9, 1), make([]byte, 512)), 512)
	m.resize(511)
	none := Sense{Key: KeyNotReady, Code: ASCMediumNotPresent}
	wantSense(t, run(u, turCDB), none)
	wantSense(t, run(u, []byte{byte(OpReadCapacity10), 9: 0}), none)
	wantSense(t, run(u, readCapacity16CDB(32)), none)
	wantSense(t, run(u, cdb10(OpRead10, 0, 0, 0)), illegal(ASCLBAOutOfRange))
}
