package megasas

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// scriptStep is a line of a script of faults.
type scriptStep struct {
	match func(mfi.Frame) bool
	left  int               // frames that match until it happens
	do    func(f *Faults)   // what happens, nil if only to the frame
	rule  func() *faultRule // what happens to the frame, nil if nothing
}

// Script reads a list of faults that come with the guest's own commands, so that
// they come at the same place in every run. Each line is
//
//	N COMMAND: FAULT
//
// and says what happens when the guest sends its N-th COMMAND from now on. A
// COMMAND is the name of a kind of frame (LD_READ, LD_WRITE, LD_SCSI_IO,
// PD_SCSI_IO, ABORT) or of a management command (as CTRL_GET_INFO). A FAULT is
//
//	fault CODE [silent]    the firmware stops, with a code of 12 bits; silent: and
//	                       tells nobody. The command is lost
//	hold                   the command is never completed
//	answer STATUS [K/C/Q]  it is completed with a status, by its name in the MFI;
//	                       with SCSI_DONE_WITH_ERROR, of sense key, code and
//	                       qualifier in hexadecimal
//	drop-interrupt         the interrupt for the next completion is lost
//	stay-in-fault TIME     the next reset leaves the firmware in FAULT for a while,
//	                       as 100s or 5m
//	battery STATE          the battery is none, good, charging or failed from then on
//	lock-diagnostic        no reset can be asked for by the diagnostic register,
//	                       until the faults are cleared
//
// Empty lines, and what follows a #, are left out.
func (f *Faults) Script(r io.Reader) error {
	var steps []*scriptStep
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		step, err := parseStep(line)
		if err != nil {
			return fmt.Errorf("line %d: %q: %w", n, strings.TrimSpace(line), err)
		}
		steps = append(steps, step)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, steps...)
	f.arm()
	return nil
}

func parseStep(line string) (*scriptStep, error) {
	head, tail, ok := strings.Cut(line, ":")
	when, what := strings.Fields(head), strings.Fields(tail)
	if !ok || len(when) != 2 || len(what) == 0 {
		return nil, fmt.Errorf("must be N COMMAND: FAULT")
	}
	n, err := strconv.Atoi(when[0])
	if err != nil || n < 1 {
		return nil, fmt.Errorf("%s: must be a number from 1 on", when[0])
	}
	s := &scriptStep{left: n}
	if s.match, err = matchName(when[1]); err != nil {
		return nil, err
	}
	return s, s.parseFault(what[0], what[1:])
}

// matchName matches a kind of frame, or a management command.
func matchName(name string) (func(mfi.Frame) bool, error) {
	for _, cmd := range []mfi.Cmd{mfi.CmdLDRead, mfi.CmdLDWrite, mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO, mfi.CmdAbort} {
		if cmd.String() == name {
			return MatchCommand(cmd), nil
		}
	}
	for _, c := range commands {
		if c.op.String() == name {
			return MatchOpcode(c.op), nil
		}
	}
	return nil, fmt.Errorf("no command is called %s", name)
}

func (s *scriptStep) parseFault(name string, args []string) error {
	switch {
	case name == "fault" && (len(args) == 1 || len(args) == 2 && args[1] == "silent"):
		code, err := strconv.ParseUint(args[0], 0, 12)
		if err != nil {
			return fmt.Errorf("code %s: must be a number below 0x1000", args[0])
		}
		s.do = func(f *Faults) { f.Fault(uint16(code), 0, len(args) == 1) }
	case name == "hold" && len(args) == 0:
		s.rule = func() *faultRule { return new(faultRule) }
	case name == "drop-interrupt" && len(args) == 0:
		s.do = func(f *Faults) { f.DropInterrupt(1) }
	case name == "battery" && len(args) == 1:
		b, ok := BatteryStates()[args[0]]
		if !ok {
			return fmt.Errorf("battery %s: must be none, good, charging or failed", args[0])
		}
		s.do = func(f *Faults) {
			if err := f.c.SetBattery(b); err != nil {
				f.c.log.Error("flushing the volumes failed", "err", err)
			}
		}
	case name == "lock-diagnostic" && len(args) == 0:
		s.do = func(f *Faults) { f.LockDiagnostic(true) }
	case name == "stay-in-fault" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		if err != nil || d < 0 {
			return fmt.Errorf("time %s: must be as 100s or 5m", args[0])
		}
		s.do = func(f *Faults) { f.StayInFault(d) }
	case name == "answer" && (len(args) == 1 || len(args) == 2):
		a, err := parseAnswer(args)
		if err != nil {
			return err
		}
		s.rule = func() *faultRule { return &faultRule{answer: &a} }
	default:
		return fmt.Errorf("no such fault, or not with these values: %s", strings.Join(append([]string{name}, args...), " "))
	}
	return nil
}

// parseAnswer reads the status, and the sense data if there is any.
func parseAnswer(args []string) (a Answer, err error) {
	for i := range int(mfi.StatusPending) {
		if a.Status = mfi.Status(i); a.Status.String() == args[0] {
			break
		}
	}
	if a.Status.String() != args[0] {
		return a, fmt.Errorf("no status is called %s", args[0])
	}
	if len(args) == 1 {
		return a, nil
	}
	var key, code, qualifier uint8
	if n, err := fmt.Sscanf(args[1], "%x/%x/%x", &key, &code, &qualifier); n != 3 || err != nil || key > 15 {
		return a, fmt.Errorf("sense data %s: must be as 3/11/00", args[1])
	}
	a.SCSIStatus = scsi.StatusCheckCondition
	a.Sense = make([]byte, scsi.SenseSize)
	a.Sense[0], a.Sense[2], a.Sense[7], a.Sense[12], a.Sense[13] = 0x70, key, scsi.SenseSize-8, code, qualifier
	return a, nil
}

// arm says whether commands have to look.
//
// Preconditions: f.mu is held.
func (f *Faults) arm() { f.armed.Store(len(f.rules)+len(f.steps) > 0) }

// follow takes the steps that come with a frame: what they do, and the rule for
// the frame if there is one.
func (f *Faults) follow(frame mfi.Frame) (do []func(*Faults), rule *faultRule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = slices.DeleteFunc(f.steps, func(s *scriptStep) bool {
		if !s.match(frame) {
			return false
		}
		if s.left--; s.left > 0 {
			return false
		}
		if s.do != nil {
			do = append(do, s.do)
		}
		if s.rule != nil {
			rule = s.rule()
		}
		return true
	})
	f.arm()
	return do, rule
}
