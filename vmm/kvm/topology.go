package kvm

import "math/bits"

// Topology is how the processors of a machine are put together. All numbers are at
// least 1.
type Topology struct {
	Sockets int
	Cores   int // of a socket
	Threads int // of a core
}

// CPUs is the number of processors.
func (t Topology) CPUs() int { return t.Sockets * t.perSocket() }

func (t Topology) perSocket() int { return t.Cores * t.Threads }

// Place is where a processor is, from 0 on.
type Place struct{ Socket, Core, Thread int }

// Place returns the place of the n-th processor.
func (t Topology) Place(n int) Place {
	return Place{n / t.perSocket(), n / t.Threads % t.Cores, n % t.Threads}
}

// APICID is the local APIC id of the n-th processor. Socket, core and thread have
// bits of their own in it, so that numbers are left out where there are not as many
// of one as fit into its bits.
func (t Topology) APICID(n int) int {
	p := t.Place(n)
	return p.Socket<<t.socketShift() | p.Core<<t.threadBits() | p.Thread
}

// threadBits and socketShift are where the core and the socket begin in an APIC id.
func (t Topology) threadBits() uint32  { return bitsFor(t.Threads) }
func (t Topology) socketShift() uint32 { return bitsFor(t.Cores) + t.threadBits() }

// bitsFor is how many bits number n things.
func bitsFor(n int) uint32 { return uint32(bits.Len(uint(n - 1))) }
