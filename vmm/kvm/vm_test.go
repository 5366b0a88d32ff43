package kvm

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testStart = 0x1000 // where test code lies and begins

// openSystem skips the test on a host without KVM.
func openSystem(t testing.TB) *System {
	t.Helper()
	s, err := Open()
	var open *OpenError
	if errors.As(err, &open) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// testVM is a machine with 64 KiB of memory.
func testVM(t testing.TB, irqchip bool) (*VM, []byte) {
	t.Helper()
	vm, err := openSystem(t).CreateVM()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	if err := vm.SetReservedPages(0xfeffc000); err != nil {
		t.Fatal(err)
	}
	if irqchip {
		if err := errors.Join(vm.CreateIRQChip(), vm.CreatePIT(), vm.SetRouting(PCRoutes())); err != nil {
			t.Fatal(err)
		}
	}
	if err := vm.SetMemory(0, 0, mem, 0); err != nil {
		t.Fatal(err)
	}
	return vm, mem
}

// testCPU is a vCPU that is about to execute code in real mode.
func testCPU(t testing.TB, code ...byte) *VCPU {
	t.Helper()
	vm, mem := testVM(t, false)
	copy(mem[testStart:], code)
	v := createVCPU(t, vm, 0)
	sregs, err := v.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	sregs.CS.Base, sregs.CS.Selector = 0, 0
	if err := errors.Join(v.SetSregs(sregs), v.SetRegs(Regs{RIP: testStart, RFLAGS: 2})); err != nil {
		t.Fatal(err)
	}
	return v
}

func createVCPU(t testing.TB, vm *VM, id int) *VCPU {
	t.Helper()
	v, err := vm.CreateVCPU(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// runTo runs until the vCPU exits for a reason other than a stray signal.
func runTo(t testing.TB, v *VCPU, want Exit) {
	t.Helper()
	v.Enter()
	defer v.Leave()
	for {
		exit, err := v.Run()
		if errors.Is(err, ErrInterrupted) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if exit != want {
			t.Fatalf("exit %v, want %v", exit, want)
		}
		return
	}
}

func TestPortAccesses(t *testing.T) {
	v := testCPU(t,
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xb0, 'A', // mov al, 'A'
		0xee,       // out dx, al
		0x66, 0xed, // in eax, dx
		0xe7, 0x80, // out 0x80, ax
		0xf4, // hlt
	)
	runTo(t, v, ExitIO)
	if io := v.IO(); !io.Out || io.Port != 0x3f8 || io.Size != 1 || string(io.Data) != "A" {
		t.Errorf("out dx, al: %+v", io)
	}
	runTo(t, v, ExitIO)
	io := v.IO()
	if io.Out || io.Port != 0x3f8 || io.Size != 4 || len(io.Data) != 4 {
		t.Errorf("in eax, dx: %+v", io)
	}
	copy(io.Data, []byte{0x78, 0x56, 0x34, 0x12})
	runTo(t, v, ExitIO)
	if io := v.IO(); !io.Out || io.Port != 0x80 || io.Size != 2 || !bytes.Equal(io.Data, []byte{0x78, 0x56}) {
		t.Errorf("out 0x80, ax: %+v", io)
	}
	runTo(t, v, ExitHLT)
	if r, err := v.Regs(); err != nil || r.RAX != 0x12345678 {
		t.Errorf("rax %#x, %v", r.RAX, err)
	}
}

func TestMemoryMappedAccesses(t *testing.T) {
	v := testCPU(t,
		0xbb, 0x00, 0x20, // mov bx, 0x2000
		0x8e, 0xdb, // mov ds, bx: addresses from 0x20000, beyond the memory
		0x66, 0xc7, 0x06, 0x34, 0x12, 0xef, 0xbe, 0xad, 0xde, // mov dword [0x1234], 0xdeadbeef
		0xa1, 0x10, 0x00, // mov ax, [0x10]
		0xf4, // hlt
	)
	runTo(t, v, ExitMMIO)
	if m := v.MMIO(); !m.Write || m.Addr != 0x21234 || !bytes.Equal(m.Data, []byte{0xef, 0xbe, 0xad, 0xde}) {
		t.Errorf("write: %+v", m)
	}
	runTo(t, v, ExitMMIO)
	m := v.MMIO()
	if m.Write || m.Addr != 0x20010 || len(m.Data) != 2 {
		t.Errorf("read: %+v", m)
	}
	copy(m.Data, []byte{0xcd, 0xab})
	runTo(t, v, ExitHLT)
	if r, err := v.Regs(); err != nil || r.RAX&0xffff != 0xabcd {
		t.Errorf("ax %#x, %v", r.RAX, err)
	}
}

func TestKickEndsARunningGuest(t *testing.T) {
	v := testCPU(t, 0xeb, 0xfe) // jmp to itself
	entered := make(chan struct{})
	result := make(chan error)
	go func() {
		v.Enter()
		defer v.Leave()
		close(entered)
		var err error
		for start := time.Now(); time.Since(start) < time.Minute; {
			_, err = v.Run()
			// The Go runtime's own signals interrupt too, and do not count.
			if !errors.Is(err, ErrInterrupted) || word(v.run, offImmediateExit).Load() != 0 {
				break
			}
		}
		result <- err
	}()
	<-entered
	v.Kick()
	if err := <-result; !errors.Is(err, ErrInterrupted) {
		t.Fatalf("Run returned %v", err)
	}
}

func TestKickIsNotLostBeforeRun(t *testing.T) {
	v := testCPU(t, 0xe6, 0x80, 0xf4) // out 0x80, al; hlt
	v.Kick()
	v.Enter()
	_, err := v.Run()
	v.Leave()
	if !errors.Is(err, ErrInterrupted) {
		t.Fatalf("Run after Kick returned %v", err)
	}
	v.ClearKick()
	runTo(t, v, ExitIO)
}

func TestKickAfterCloseIsHarmless(t *testing.T) {
	vm, _ := testVM(t, false)
	v, err := vm.CreateVCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	v.Kick()
}

func TestInternalErrorTellsTheInstruction(t *testing.T) {
	if r := Probe(); r.Class != ClassInterpreting {
		t.Skipf("needs a KVM that can't execute an instruction, this one is %s", r.Class)
	}
	v := testCPU(t, 0xd9, 0xe8, 0xf4) // fld1
	runTo(t, v, ExitInternalError)
	e := v.InternalError()
	if e.Suberror != EmulationFailed || !bytes.HasPrefix(e.Insn, []byte{0xd9, 0xe8}) {
		t.Errorf("%+v", e)
	}
	if !strings.Contains(e.Reason(), "emulate") {
		t.Errorf("reason %q", e.Reason())
	}
}

func TestSecondaryProcessorWaits(t *testing.T) {
	vm, _ := testVM(t, true)
	boot, second := createVCPU(t, vm, 0), createVCPU(t, vm, 1)
	for v, want := range map[*VCPU]MPState{boot: MPRunnable, second: MPUninitialized} {
		if got, err := v.MPState(); err != nil || got != want {
			t.Errorf("vCPU %d: state %d, %v, want %d", v.ID(), got, err, want)
		}
	}
	if err := second.SetMPState(MPInitReceived); err != nil {
		t.Fatal(err)
	}
	if got, err := second.MPState(); err != nil || got != MPInitReceived {
		t.Errorf("state %d, %v, want %d", got, err, MPInitReceived)
	}
}

func TestLAPICRegisters(t *testing.T) {
	vm, _ := testVM(t, true)
	v := createVCPU(t, vm, 0)
	l, err := v.LAPIC()
	if err != nil {
		t.Fatal(err)
	}
	const lint1, nmi = 0x360, 0x400
	l.Regs[lint1], l.Regs[lint1+1] = nmi&0xff, nmi>>8
	if err := v.SetLAPIC(&l); err != nil {
		t.Fatal(err)
	}
	got, err := v.LAPIC()
	if err != nil {
		t.Fatal(err)
	}
	if got != l {
		t.Error("the registers read back differ from those written")
	}
}

func TestRefusedMSRIsNamed(t *testing.T) {
	vm, _ := testVM(t, false)
	v := createVCPU(t, vm, 0)
	const efer, notThere = 0xc0000080, 0x12345
	if err := v.SetMSRs([]MSR{{efer, 0}}); err != nil {
		t.Fatal(err)
	}
	err := v.SetMSRs([]MSR{{efer, 0}, {notThere, 7}, {efer, 0}})
	if err == nil || !strings.Contains(err.Error(), "0x12345") {
		t.Errorf("got %v, want a word of register 0x12345", err)
	}
}

func TestFPUAndCPUIDAreAccepted(t *testing.T) {
	s := openSystem(t)
	supported, err := s.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	vm, _ := testVM(t, true)
	for id := range 2 {
		v := createVCPU(t, vm, id)
		leaves := GuestCPUID(supported, CPU{ID: id, Topology: Topology{1, 2, 1}, TSCDeadline: s.HasTSCDeadline(), TSCKHz: v.TSCKHz()})
		if err := v.SetCPUID(leaves); err != nil {
			t.Errorf("vCPU %d: %v", id, err)
		}
		if err := v.SetFPU(0x37f, 0x1f80); err != nil {
			t.Errorf("vCPU %d: %v", id, err)
		}
	}
}

func TestInterruptsDoNotAllocate(t *testing.T) {
	vm, _ := testVM(t, true)
	createVCPU(t, vm, 0)
	n := testing.AllocsPerRun(10, func() {
		if vm.SetIRQ(4, true) != nil || vm.SetIRQ(4, false) != nil {
			t.Error("SetIRQ failed")
		}
		if _, err := vm.SignalMSI(0xfee00000, 0x40); err != nil {
			t.Error("SignalMSI failed")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestOverlappingMemoryIsRefused(t *testing.T) {
	vm, mem := testVM(t, false)
	if err := vm.SetMemory(1, 0x8000, mem[:0x1000], 0); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second slot at the same address: %v", err)
	}
	if err := vm.SetMemory(0, 0, nil, 0); err != nil {
		t.Errorf("delete a slot: %v", err)
	}
	if err := vm.SetMemory(1, 0x8000, mem[:0x1000], MemoryReadOnly); err != nil {
		t.Errorf("after the first slot was deleted: %v", err)
	}
}

// Memory that is only to be read costs an exit for each write, which changes nothing,
// and none for reads. These have what the host stored last.
func TestReadOnlyMemory(t *testing.T) {
	const slot, base, at = 7, 0x20000, 0x30
	vm, mem := testVM(t, true)
	page, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(page); err != nil {
			t.Error(err)
		}
	})
	v := createVCPU(t, vm, 0)
	copy(mem[testStart:], []byte{
		0xbb, 0x00, 0x20, // mov bx, 0x2000
		0x8e, 0xdb, // mov ds, bx
		0xa1, at, 0x00, // mov ax, [0x30]
		0xa3, at + 4, 0x00, // mov [0x34], ax
		0xa1, at + 4, 0x00, // mov ax, [0x34]
		0xf0, 0x01, 0x06, at, 0x00, // lock add [0x30], ax
		0xa1, at, 0x00, // mov ax, [0x30]
		0xa1, at, 0x00, // mov ax, [0x30]
		0xe7, 0x80, // out 0x80, ax
		0xa1, at, 0x00, // mov ax, [0x30]
		0xe7, 0x80, // out 0x80, ax
	})
	sregs, err := v.Sregs()
	if err != nil {
		t.Fatal(err)
	}
	sregs.CS.Base, sregs.CS.Selector = 0, 0
	if err := errors.Join(v.SetSregs(sregs), v.SetRegs(Regs{RIP: testStart, RFLAGS: 2})); err != nil {
		t.Fatal(err)
	}
	if err := vm.SetMemory(slot, base, page, MemoryReadOnly); err != nil {
		t.Fatal(err)
	}
	put := func(off int, v uint16) { page[off], page[off+1] = byte(v), byte(v>>8) }
	wantWrite := func(off uint64, want uint16) {
		t.Helper()
		runTo(t, v, ExitMMIO)
		if m := v.MMIO(); !m.Write || m.Addr != base+off || !bytes.Equal(m.Data, []byte{byte(want), byte(want >> 8)}) {
			t.Errorf("%+v, want a write of %#x at %#x", m, want, base+off)
		}
	}
	wantRead := func(want uint16) {
		t.Helper()
		runTo(t, v, ExitIO)
		if io := v.IO(); !bytes.Equal(io.Data, []byte{byte(want), byte(want >> 8)}) {
			t.Errorf("read % x, want %#x", io.Data, want)
		}
	}
	put(at, 0x1234)
	put(at+4, 0x0101)
	wantWrite(at+4, 0x1234)
	wantWrite(at, 0x1234+0x0101)
	wantRead(0x1234)
	put(at, 0x5678)
	wantRead(0x5678)
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		err  error
		is   error
		hint string
	}{
		{unix.ENOENT, fs.ErrNotExist, "modprobe"},
		{unix.ENODEV, unix.ENODEV, "modprobe"},
		{unix.EACCES, fs.ErrPermission, "usermod -aG kvm"},
		{unix.EBUSY, unix.EBUSY, "another hypervisor"},
	}
	for _, tt := range tests {
		err := openError(DevicePath, tt.err)
		if !errors.Is(err, tt.is) {
			t.Errorf("%v is not %v", err, tt.is)
		}
		if s := err.Error(); !strings.HasPrefix(s, "open /dev/kvm: ") || !strings.Contains(s, tt.hint) || strings.Contains(s, "\n") {
			t.Errorf("%q does not say %q in one line", s, tt.hint)
		}
	}
}

func TestPCRoutes(t *testing.T) {
	pins := make(map[Route]bool)
	for _, r := range PCRoutes() {
		key := Route{0, r.Chip, r.Pin}
		if pins[key] {
			t.Errorf("two interrupts share chip %d pin %d", r.Chip, r.Pin)
		}
		pins[key] = true
	}
	if len(pins) != 16+23 {
		t.Errorf("%d routes, want 16 to the PICs and 23 to the I/O APIC", len(pins))
	}
	for _, want := range []Route{{0, ChipPICMaster, 0}, {0, ChipIOAPIC, 2}, {9, ChipPICSlave, 1}, {9, ChipIOAPIC, 9}, {23, ChipIOAPIC, 23}} {
		found := false
		for _, r := range PCRoutes() {
			found = found || r == want
		}
		if !found {
			t.Errorf("no route %+v", want)
		}
	}
}
