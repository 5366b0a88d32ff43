package pci_test

import (
	"fmt"

	"github.com/govmm/govmm/pci"
)

// A function with one register window and MSI-X on a bus. The guest finds it,
// sets its BAR and switches it on; then it can reach the device, and the device
// can reach the guest.
func Example() {
	f := pci.NewFunction(pci.Config{
		Name: "disk", Vendor: 0x1000, Device: 0x0079, Class: 0x010400, InterruptPin: 1,
	})
	f.AddBAR(0, pci.Mem32, 0x1000, new(scratch))
	f.AddMSIX(0x40, 2, 0, 0x800, 0xC00)

	m := newMachine() // a Platform
	if err := m.bus.Attach(5, 0, f); err != nil {
		fmt.Println(err)
		return
	}
	guest := device{m, 5, 0} // speaks through ports 0xCF8 and 0xCFC
	fmt.Printf("identity %#x\n", guest.read(0x00, 4))
	guest.write(0x10, 4, 0xC0000000)
	guest.write(0x04, 2, 0x0006) // memory decoding and bus mastering
	fmt.Printf("register %#x\n", m.read32(0xC0000000))

	f.SetINTx(true)
	fmt.Println("line of the pin:", m.line(21))
	// Output:
	// identity 0x791000
	// register 0x0
	// line of the pin: true
}
