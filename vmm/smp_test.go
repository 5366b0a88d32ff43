package vmm

import (
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// Sixty-four processors in two sockets with threads start by INIT and start-up
// interrupts, each under its own number, and again after a reset.
func TestManyProcessorsStart(t *testing.T) {
	const (
		page    = 0x30000
		segment = page >> 4
		table   = page + 0x800 // a byte for each local APIC id
		pending = 1 << 12
		command = payload.LAPIC + 0x300
	)
	topology := kvm.Topology{Sockets: 2, Cores: 16, Threads: 2}
	// Each marks its own place in the table, by the id that CPUID tells it.
	code := []byte{
		0xb8, segment & 0xff, segment >> 8, // mov ax, segment
		0x8e, 0xd8, // mov ds, ax
		0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
		0x0f, 0xa2, // cpuid
		0x66, 0xc1, 0xeb, 0x18, // shr ebx, 24
		0xc6, 0x87, 0x00, 0x08, 0x01, // mov byte [bx+0x800], 1
		0xfa, 0xf4, // cli; hlt
	}
	p := payload.New()
	countBoot(p)
	boot := p.Word()
	p.Save32(boot)
	for n := 1; n < topology.CPUs(); n++ {
		id := topology.APICID(n)
		p.StartProcessor(uint8(id), page, code)
		p.Wait32(command, pending, 0)
		p.Wait32(uint64(table+id), 0xff, 1)
	}
	p.Load32(boot)
	p.If32(0xff, 2, func() { p.PowerOff() })
	p.Out8(0x64, 0xfe)
	p.Halt()
	m := newMachine(t, p, Config{
		CPUs: topology.CPUs(), Topology: topology, OnReset: RestartOnReset,
		RAM: memory.Options{Shared: true, Prealloc: true},
	})
	runTo(t, m, PowerOff)
	if list := m.CPUs(); len(list) != 64 || list[63].ID != 63 || list[63].Place != (kvm.Place{Socket: 1, Core: 15, Thread: 1}) {
		t.Errorf("processors %+v", list)
	}
}

func TestTopologyHasToFit(t *testing.T) {
	for _, c := range []Config{
		{CPUs: 4, Topology: kvm.Topology{Sockets: 1, Cores: 3, Threads: 1}},
		{CPUs: 65 * 3, Topology: kvm.Topology{Sockets: 3, Cores: 65, Threads: 1}}, // the last number is 320
	} {
		c.Memory = 16 * mib
		m, err := New(c)
		skipWithoutKVM(t, err)
		if err == nil {
			t.Errorf("%+v is accepted", c.Topology)
			_ = m.Close(t.Context())
		}
	}
}
