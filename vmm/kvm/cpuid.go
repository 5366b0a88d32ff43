package kvm

import (
	"slices"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// CPUIDEntry is one leaf, or one subleaf where CPUIDIndexed is set in Flags.
type CPUIDEntry = gokvm.CPUIDEntry2

// CPUIDIndexed says that a leaf depends on ECX too (the kernel's
// KVM_CPUID_FLAG_SIGNIFCANT_INDEX).
const CPUIDIndexed = 1

// CPU describes a virtual processor to GuestCPUID.
type CPU struct {
	ID          int      // local APIC id, as the topology numbers it
	Topology    Topology // of the machine
	TSCDeadline bool     // the local APIC has the TSC deadline timer
	TSCKHz      uint32   // frequency of the time stamp counter, 0 if not known
}

// Leaves that are edited, by the names of the processor manuals and of the
// kernel's Documentation/virt/kvm/x86/cpuid.rst.
const (
	leafMax           = 0x0
	leafFeatures      = 0x1
	leafCache         = 0x4
	leafThermal       = 0x6
	leafExtFeatures   = 0x7
	leafPerfMon       = 0xa
	leafTopology      = 0xb
	leafExtStates     = 0xd
	leafSGX           = 0x12
	leafTopologyV2    = 0x1f
	leafKVMSignature  = 0x40000000
	leafKVMFeatures   = 0x40000001
	leafTimingInfo    = 0x40000010
	leafExtMax        = 0x80000000
	leafExtFeaturesA  = 0x80000001
	leafAddressSizes  = 0x80000008
	leafSVM           = 0x8000000a
	leafCacheAMD      = 0x8000001d
	leafTopologyAMD   = 0x8000001e
	leafEncryptionAMD = 0x8000001f
)

// lapicBusKHz is the frequency of KVM's local APIC timer.
const lapicBusKHz = 1_000_000

// Feature bits.
const (
	feature1ECXMonitor     = 1 << 3
	feature1ECXVMX         = 1 << 5
	feature1ECXTSCDeadline = 1 << 24
	feature1ECXHypervisor  = 1 << 31
	feature1EDXHTT         = 1 << 28
	feature6EAXARAT        = 1 << 2
	feature7EBXSGX         = 1 << 2
	feature7ECXLA57        = 1 << 16
	feature7ECXSGXLC       = 1 << 30
	featureExtECXLegacy    = 1 << 1 // AMD: the logical processors are cores
	featureExtECXSVM       = 1 << 2
	featureExtECXTopology  = 1 << 22 // AMD: there is leafTopologyAMD
)

// vendorAMD and vendorHygon are EBX of leaf 0.
const (
	vendorAMD   = 0x68747541 // "Auth"
	vendorHygon = 0x6f677948 // "Hygo"
)

// GuestCPUID turns the leaves that the host supports into those of one virtual
// processor: its identity and topology, KVM's own leaves, and without the
// features that a guest can't use (nested virtualization, enclaves, performance
// counters, MONITOR).
func GuestCPUID(supported []CPUIDEntry, cpu CPU) []CPUIDEntry {
	var out []CPUIDEntry
	maxBasic, amd := describe(supported)
	if amd && cpu.Topology.Threads > 1 {
		supported = withThreadsAMD(supported)
	}
	for _, e := range supported {
		switch e.Function {
		case leafTopology, leafTopologyV2, leafTimingInfo:
			continue // written below
		}
		edit(&e, cpu, amd)
		out = append(out, e)
	}
	if maxBasic >= leafTopology {
		out = append(out, topology(leafTopology, cpu)...)
	}
	if maxBasic >= leafTopologyV2 {
		out = append(out, topology(leafTopologyV2, cpu)...)
	}
	if cpu.TSCKHz != 0 {
		out = append(out, CPUIDEntry{Function: leafTimingInfo, Eax: cpu.TSCKHz, Ebx: lapicBusKHz})
	}
	slices.SortStableFunc(out, func(a, b CPUIDEntry) int {
		if a.Function != b.Function {
			if a.Function < b.Function {
				return -1
			}
			return 1
		}
		return int(a.Index) - int(b.Index)
	})
	return out
}

// withThreadsAMD returns the leaves with that in which guests on AMD's processors look
// for threads, which KVM offers only where the host has it.
func withThreadsAMD(supported []CPUIDEntry) []CPUIDEntry {
	out := slices.Clone(supported)
	found := false
	for i := range out {
		switch e := &out[i]; e.Function {
		case leafExtMax:
			e.Eax = max(e.Eax, leafTopologyAMD)
		case leafExtFeaturesA:
			e.Ecx |= featureExtECXTopology
		case leafTopologyAMD:
			found = true
		}
	}
	if !found {
		out = append(out, CPUIDEntry{Function: leafTopologyAMD})
	}
	return out
}

// PhysBits is the width of a guest-physical address in bits.
func PhysBits(supported []CPUIDEntry) uint {
	for _, e := range supported {
		if e.Function == leafAddressSizes {
			return uint(e.Eax & 0xff)
		}
	}
	return 36 // what the architecture has without the leaf
}

// ExtendedStates is the set of processor states that a guest can enable in XCR0,
// 0 for a processor without XSAVE.
func ExtendedStates(supported []CPUIDEntry) uint64 {
	for _, e := range supported {
		if e.Function == leafExtStates && e.Index == 0 {
			return uint64(e.Edx)<<32 | uint64(e.Eax)
		}
	}
	return 0
}

// HasLA57 reports whether the processor has page tables of five levels.
func HasLA57(leaves []CPUIDEntry) bool {
	for _, e := range leaves {
		if e.Function == leafExtFeatures && e.Index == 0 {
			return e.Ecx&feature7ECXLA57 != 0
		}
	}
	return false
}

// describe finds the highest basic leaf and the maker of the processor.
func describe(entries []CPUIDEntry) (maxBasic uint32, amd bool) {
	for _, e := range entries {
		if e.Function == leafMax {
			return e.Eax, e.Ebx == vendorAMD || e.Ebx == vendorHygon
		}
	}
	return 0, false
}

// edit adapts a leaf in place.
func edit(e *CPUIDEntry, cpu CPU, amd bool) {
	id, t := uint32(cpu.ID), cpu.Topology
	count := uint32(t.perSocket())
	switch e.Function {
	case leafFeatures:
		const cacheLine = 8 // in units of 8 bytes
		e.Ebx = id<<24 | min(count, 255)<<16 | cacheLine<<8 | e.Ebx&0xff
		e.Ecx |= feature1ECXHypervisor
		e.Ecx &^= feature1ECXVMX | feature1ECXMonitor
		setBit(&e.Ecx, feature1ECXTSCDeadline, cpu.TSCDeadline)
		setBit(&e.Edx, feature1EDXHTT, count > 1)
	case leafCache, leafCacheAMD:
		shareCache(e, t)
	case leafThermal:
		e.Eax, e.Ebx, e.Ecx, e.Edx = feature6EAXARAT, 0, 0, 0
	case leafExtFeatures:
		if e.Index == 0 {
			e.Ebx &^= feature7EBXSGX
			e.Ecx &^= feature7ECXSGXLC
		}
	case leafPerfMon, leafSGX, leafSVM, leafEncryptionAMD:
		e.Eax, e.Ebx, e.Ecx, e.Edx = 0, 0, 0, 0
	case leafKVMSignature:
		if cpu.TSCKHz != 0 {
			e.Eax = leafTimingInfo
		}
	case leafExtFeaturesA:
		e.Ecx &^= featureExtECXSVM
		setBit(&e.Ecx, featureExtECXLegacy, amd && count > 1)
	case leafAddressSizes:
		e.Ecx = e.Ecx&^0xf0ff | t.socketShift()<<12 | min(count-1, 255)
	case leafTopologyAMD:
		socket, core := id>>t.socketShift(), id&(1<<t.socketShift()-1)>>t.threadBits()
		e.Eax, e.Ebx, e.Ecx = id, core&0xff|uint32(t.Threads-1)<<8, socket&0xff
	}
}

func setBit(reg *uint32, bit uint32, on bool) {
	*reg &^= bit
	if on {
		*reg |= bit
	}
}

// shareCache says in a cache leaf which processors share the cache: the last
// level (3) belongs to all of a socket, the others to the threads of a core.
func shareCache(e *CPUIDEntry, t Topology) {
	const (
		typeMask   = 0x1f
		levelShift = 5
		levelMask  = 7
		shareShift = 14
		coresShift = 26
	)
	if e.Eax&typeMask == 0 {
		return // no more caches
	}
	e.Eax &= 1<<shareShift - 1
	sharing := t.Threads
	if e.Eax>>levelShift&levelMask == 3 {
		sharing = t.perSocket()
	}
	e.Eax |= min(uint32(sharing-1), 0xfff) << shareShift
	if e.Function == leafCache {
		e.Eax |= min(uint32(1)<<bitsFor(t.Cores)-1, 0x3f) << coresShift
	}
}

// topology is the extended topology of a processor.
func topology(leaf uint32, cpu CPU) []CPUIDEntry {
	const (
		levelThread = 1 << 8
		levelCore   = 2 << 8
	)
	id, t := uint32(cpu.ID), cpu.Topology
	return []CPUIDEntry{
		{Function: leaf, Index: 0, Flags: CPUIDIndexed, Eax: t.threadBits(), Ebx: uint32(t.Threads), Ecx: levelThread, Edx: id},
		{Function: leaf, Index: 1, Flags: CPUIDIndexed, Eax: t.socketShift(), Ebx: uint32(t.perSocket()), Ecx: levelCore | 1, Edx: id},
		{Function: leaf, Index: 2, Flags: CPUIDIndexed, Eax: 0, Ebx: 0, Ecx: 2, Edx: id},
	}
}
