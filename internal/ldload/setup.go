package ldload

import (
	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
)

// PCI configuration space by mechanism 1, and what of it is used (PCI 3.0, 6).
const (
	configAddress = 0xcf8
	configData    = 0xcfc
	configEnable  = 1 << 31
	configSlot    = 1 << 11 // from one slot to the next
	configSlots   = 32

	identity     = 0x00791000 // MegaRAID SAS 2108
	regCommand   = 0x04
	regBAR0      = 0x10
	regCapList   = 0x34
	decodeMemory = 1 << 1
	master       = 1 << 2

	capMSI       = 0x05
	messageBase  = 0xfee00000 // local APIC 0
	messageOn    = 1 << 16    // of the capability's first word
	vector       = 0x50
	everything   = 0xffffffff
	entriesMask  = 0xffff // of the firmware state
	statusMask   = 0xff << 16
	statusNotYet = uint32(mfi.StatusPending) << 16
)

// begin brings the controller to where commands can be posted.
func (l *load) begin() {
	l.find()
	l.config(regCommand)
	l.Out32(configData, 0)
	for i, base := range []uint32{portBase, regsBase, 0, queueBase, 0} {
		l.config(regBAR0 + 4*uint32(i))
		l.Out32(configData, base)
	}
	l.config(regCommand)
	l.Out32(configData, decodeMemory|master)
	l.interruptMessages()

	l.Wait32(regsBase+regState, stateMask, uint32(mfi.StateReady))
	l.Load32(regsBase + regState)
	l.And(entriesMask)
	l.Save32(l.queue + 4) // the number of entries
	x := mfi.Fields{Cmd: mfi.CmdInit, QueueInfo: l.queue, Flags: mfi.FlagDontPost}
	frame := l.Data(x.Marshal(), frameAlign)
	l.Store32(regsBase+regPost, uint32(frame)|1)
	l.WaitOther32(frame, statusMask, statusNotYet)
	l.Store32(regsBase+regClear, everything)
	l.Store32(regsBase+regMask, listen)
}

// find leaves the controller's configuration address in fn.
func (l *load) find() {
	l.Store32(l.fn, configEnable)
	l.Label("next slot")
	l.config(0)
	l.In32(configData)
	l.If32(everything, identity, func() { l.Jump("found") })
	l.Load32(l.fn)
	l.Add(configSlot)
	l.Save32(l.fn)
	l.If32(everything, configEnable+configSlots*configSlot, func() { l.giveUp("no controller\n") })
	l.Jump("next slot")
	l.Label("found")
}

// config selects a register of configuration space.
func (l *load) config(reg uint32) {
	l.Load32(l.fn)
	l.Add(reg)
	l.Put32(configAddress)
}

// giveUp ends the machine with a message.
func (l *load) giveUp(message string) {
	l.OutString(payload.COM1, message)
	l.PowerOff()
}

// interruptMessages makes the controller send messages, of 64-bit addresses, and
// the processor take them, in run: it acknowledges what the status says, and the
// program goes on from where it sleeps.
func (l *load) interruptMessages() {
	offset, header := l.Word(), l.Word()
	l.config(regCapList)
	l.In32(configData)
	l.Label("next capability")
	l.And(0xfc)
	l.Save32(offset)
	l.If32(everything, 0, func() { l.giveUp("no message-signalled interrupts\n") })
	l.capability(offset, 0)
	l.In32(configData)
	l.Save32(header)
	l.If32(0xff, capMSI, func() { l.Jump("found MSI") })
	l.Load8(header + 1)
	l.Jump("next capability")

	l.Label("found MSI")
	for reg, v := range []uint32{1: messageBase, 2: 0, 3: vector} {
		if reg > 0 {
			l.capability(offset, 4*uint32(reg))
			l.Out32(configData, v)
		}
	}
	l.capability(offset, 0)
	l.Out32(configData, messageOn)

	l.OnInterrupt(vector, func() {
		l.Increment32(l.interrupts)
		l.Raw(0x8b, 0x47, regStatus) // mov eax, [rdi+regStatus]; see run
		l.Raw(0x85, 0xc0)            // test eax, eax
		l.JumpIf(payload.Equal, "nothing to clear")
		l.Raw(0x89, 0x87, regClear, 0, 0, 0) // mov [rdi+regClear], eax
		l.Label("nothing to clear")
	})
	l.EnableInterrupts()
}

// capability selects a register of the capability at the offset that a word has.
func (l *load) capability(offset uint64, reg uint32) {
	l.Load32(l.fn)
	l.AddWord32(offset)
	l.Add(reg)
	l.Put32(configAddress)
}
