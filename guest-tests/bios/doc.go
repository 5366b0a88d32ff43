// Package bios tests machines that boot from their disks: SeaBIOS finds the
// controller and its volumes by its own driver, reads a boot sector, and starts
// it. The boot sectors are made here, a few hundred bytes of 16-bit code that
// tells over COM2 what the BIOS let it do. Others come from a disc, or show text on
// the screen of a VGA adapter and read its keyboard.
//
// They run on /dev/kvm, whatever it is: where KVM interprets, a start of SeaBIOS
// takes some seconds. Without /dev/kvm or SeaBIOS (package seabios), and
// with -short, the tests are skipped.
package bios
