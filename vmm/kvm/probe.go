package kvm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Class says what a host's KVM does with guest code.
type Class string

const (
	// ClassNone is a host where KVM can't be used at all.
	ClassNone Class = "none"
	// ClassInterpreting is a KVM without processor support beneath it: it
	// interprets every guest instruction, knows only some of them, and is about
	// a thousand times too slow for an operating system.
	ClassInterpreting Class = "interpreting"
	// ClassExecuting is a KVM that executes guest code.
	ClassExecuting Class = "executing"
)

// Speed says how fast an executing KVM is.
type Speed string

const (
	// SpeedHardware is a processor that executes guest code itself.
	SpeedHardware Speed = "hardware"
	// SpeedEmulated is a processor whose virtualization extension is emulated:
	// a stock guest works, some ten times slower.
	SpeedEmulated Speed = "emulated"
	// SpeedSlow is slower than any emulated processor that was met.
	SpeedSlow Speed = "slow"
)

// Report is what Probe found.
type Report struct {
	Class   Class    `json:"class"`
	Speed   Speed    `json:"speed,omitempty"`   // for ClassExecuting
	Reason  string   `json:"reason,omitempty"`  // for ClassNone: what failed, and what to do
	Missing []string `json:"missing,omitempty"` // capabilities that the kernel lacks
	// MInsnPerSecond is the measured speed in millions of simple guest
	// instructions a second.
	MInsnPerSecond float64 `json:"minsn_per_second,omitempty"`
	// Modules are the loaded KVM modules (kvm_intel, kvm_amd, ...).
	Modules []string `json:"modules,omitempty"`
	// Extension is the virtualization extension that the host's processor
	// shows: "vmx", "svm" or nothing.
	Extension string `json:"extension,omitempty"`
}

// CanBoot reports whether a stock operating system boots in useful time.
func (r Report) CanBoot() bool { return r.Class == ClassExecuting }

// Probe finds out by experiment what this host's KVM is. It takes a few
// milliseconds, and some tens where the processor is emulated.
func Probe() Report {
	r := Report{Class: ClassNone, Modules: loadedModules(), Extension: hostExtension()}
	s, err := Open()
	if err != nil {
		r.Reason = err.Error()
		var missing *MissingError
		if errors.As(err, &missing) {
			r.Missing = missing.Names
		}
		return r
	}
	defer s.Close()
	if err := r.experiment(s); err != nil {
		r.Class, r.Reason = ClassNone, err.Error()
	}
	return r
}

// experiment classifies by an instruction that KVM's interpreter does not know,
// and then measures.
func (r *Report) experiment(s *System) error {
	fld1 := []byte{0xd9, 0xe8, 0xf4} // fld1; hlt
	p, err := newProbeVM(s)
	if err != nil {
		return err
	}
	defer p.close()
	exit, _, err := p.run(fld1)
	if err != nil {
		return err
	}
	switch exit {
	case ExitHLT:
		r.Class = ClassExecuting
		return r.measure(p)
	case ExitInternalError:
		r.Class = ClassInterpreting
		return nil
	}
	return fmt.Errorf("probe: the guest came back with %v", exit)
}

// What a processor makes of the timing loop: a real one takes a nanosecond or two
// for an iteration, the best emulated one three or more.
const (
	timingLoops   = 1_000_000
	hardwareLimit = 2 * time.Millisecond
	emulatedLimit = 500 * time.Millisecond
)

// measure times two million instructions. The first run only warms up; of the
// others the fastest counts, because a busy host can only make them slower.
func (r *Report) measure(p *probeVM) error {
	code := []byte{
		0x66, 0xb9, timingLoops & 0xff, timingLoops >> 8 & 0xff, timingLoops >> 16, 0, // mov ecx, timingLoops
		0x66, 0x49, // dec ecx
		0x75, 0xfc, // jnz back to dec
		0xf4, // hlt
	}
	best := time.Duration(math.MaxInt64)
	for i := range 4 {
		exit, took, err := p.run(code)
		if errors.Is(err, ErrInterrupted) {
			r.Speed = SpeedSlow
			return nil
		}
		if err != nil {
			return err
		}
		if exit != ExitHLT {
			return fmt.Errorf("probe: the timing loop came back with %v", exit)
		}
		if i > 0 {
			best = min(best, took)
		}
	}
	r.MInsnPerSecond = 2 * timingLoops / best.Seconds() / 1e6
	switch {
	case best < hardwareLimit:
		r.Speed = SpeedHardware
	case best < emulatedLimit:
		r.Speed = SpeedEmulated
	default:
		r.Speed = SpeedSlow
	}
	return nil
}

// probeVM is a machine with one real-mode vCPU and nothing else.
type probeVM struct {
	vm  *VM
	cpu *VCPU
	mem []byte
}

const (
	probeMemory = 1 << 20
	probeStart  = 0x1000
)

func newProbeVM(s *System) (_ *probeVM, err error) {
	p := &probeVM{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.vm, err = s.CreateVM(); err != nil {
		return nil, err
	}
	if p.mem, err = unix.Mmap(-1, 0, probeMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return nil, fmt.Errorf("probe: map guest memory: %w", err)
	}
	if err = p.vm.SetMemory(0, 0, p.mem, 0); err != nil {
		return nil, err
	}
	if p.cpu, err = p.vm.CreateVCPU(0); err != nil {
		return nil, err
	}
	return p, nil
}

// probeLimit bounds a run of the probe.
const probeLimit = 3 * time.Second

// run executes code in real mode until something exits.
func (p *probeVM) run(code []byte) (Exit, time.Duration, error) {
	copy(p.mem[probeStart:], code)
	sregs, err := p.cpu.Sregs()
	if err != nil {
		return 0, 0, err
	}
	sregs.CS.Base, sregs.CS.Selector = 0, 0
	if err := p.cpu.SetSregs(sregs); err != nil {
		return 0, 0, err
	}
	if err := p.cpu.SetRegs(Regs{RIP: probeStart, RFLAGS: 2}); err != nil {
		return 0, 0, err
	}
	p.cpu.Enter()
	defer p.cpu.Leave()
	timer := time.AfterFunc(probeLimit, p.cpu.Kick)
	defer timer.Stop()
	start := time.Now()
	for {
		exit, err := p.cpu.Run()
		took := time.Since(start)
		if errors.Is(err, ErrInterrupted) && took < probeLimit {
			continue // the Go runtime's preemption signal
		}
		return exit, took, err
	}
}

func (p *probeVM) close() {
	if p.cpu != nil {
		p.cpu.Close()
	}
	if p.vm != nil {
		p.vm.Close()
	}
	if p.mem != nil {
		_ = unix.Munmap(p.mem)
	}
}

// loadedModules lists the KVM modules of the running kernel.
func loadedModules() []string {
	var found []string
	for _, name := range []string{"kvm_intel", "kvm_amd", "kvm_pvm"} {
		if _, err := os.Stat("/sys/module/" + name); err == nil {
			found = append(found, name)
		}
	}
	return found
}

// hostExtension looks for a virtualization extension among the host's CPU flags.
func hostExtension() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(info)) {
		if !strings.HasPrefix(line, "flags") {
			continue
		}
		for flag := range strings.FieldsSeq(line) {
			if flag == "vmx" || flag == "svm" {
				return flag
			}
		}
		break
	}
	return ""
}
