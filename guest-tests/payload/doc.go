// Package payloadtests holds the tests of the whole machine without an operating
// system: hand-made guests of a few hundred instructions (see internal/payload)
// drive the controller over PCI as firmware and drivers do, and the qcow2 image
// behind it is judged afterwards.
//
// They run on any KVM, also on one that interprets guest code, and are skipped
// only where /dev/kvm can't be opened (payload.sh runs them in the nested machine then). A guest waits by looking at memory or by
// halting, never for a time to pass; where it gets stuck, the test fails with what
// it was waiting for.
//
// A test has two halves. Up to guest.run it writes the guest's program and what
// the guest's memory holds at the start: frames, buffers, rings. What must be true
// at the end is noted beside each step. run builds the machine, lets the guest
// power it off, and then checks all of that.
package payloadtests
