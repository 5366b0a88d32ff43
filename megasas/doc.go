// Package megasas is an emulated MegaRAID SAS 2108 controller: the PCI function
// that a stock megaraid_sas driver probes, with its registers, firmware states,
// frame queue, reply ring, interrupts and management commands, over drives that
// are given to it.
//
// The behaviour follows the open drivers of Linux, FreeBSD and SeaBIOS, and what
// is known of the card's own firmware. Frames and payloads are package mfi's,
// the drives and volumes package raid's, and SCSI commands package scsi's; this
// package is what connects them to the guest.
//
// # A command's way
//
// The guest stores a frame's address into the inbound queue port. The vCPU
// thread that did it puts the address into a bounded queue, or wakes the worker
// that sleeps for it (queue.go). A worker fetches the frame into its own copy, once (request.go), checks and
// carries it out (frame_io.go, passthru.go, dcmd.go and others), moving data
// straight between the drive and the guest's pages (sgl.go). The result goes
// into the frame in one store; the frame's context into the reply ring
// (reply.go); then one interrupt is raised for all replies that were ready
// together (interrupt.go). Reads and writes do not allocate.
//
// A read or write that waits for nothing, since the host has the bytes in memory,
// does not go that way: the vCPU's thread carries it out, in less time than
// waking a worker takes, and the guest goes on with the reply in its ring (inline.go).
//
// # Discs
//
// A drive of the kind raid.Optical is a CD-ROM drive. It has a volume's target id,
// and answers there like the drive that it is: SeaBIOS's driver, which boots from
// it, looks at logical drives only, and Linux takes a target for what it says.
//
// What registers read as is kept in a page (register.go's face), which the machine
// may have the guest read by itself: reads then never come here, writes do.
//
// # Resets
//
// Every frame belongs to the epoch in which it was posted. A reset starts a new
// epoch on the vCPU thread, which at once silences the completions of older
// frames, and leaves the rest to a goroutine: it waits until no worker and no vCPU
// touches guest memory for a frame any more, and only then lets the firmware state become READY.
//
// # Hot plugging
//
// Drives and volumes come and go while the guest runs (drives.go). Each change is
// an event in the log, which completes the EVENT_WAIT that the driver has
// outstanding: it looks at the lists again and needs no rescan. Commands that
// are at work on what leaves end first; later ones are answered DEVICE_NOT_FOUND,
// or LD_OFFLINE while the volume is still there.
//
// # Work in the background
//
// A drive is cleared, and a volume initialized, by a goroutine that writes zeroes
// piece by piece (background.go), through resets of the controller, but not while it
// is paused. Other changes of the drive are refused meanwhile, and so is I/O to the
// volume.
//
// # Faults
//
// [Controller.Faults] makes the controller fail on purpose, so that what drivers
// do about it can be tested: commands that never end or end badly, interrupts
// that are lost, firmware that stops and a reset that does not help.
//
// [Config.Observer] sees every frame and every state of the firmware; [Trace] is one
// that writes lines of them.
//
// # Locks
//
// Locks are taken in this order:
//
//	Controller.life     read by everything that touches guest memory for a
//	                    frame, written where the reply ring changes hands
//	settings.changing   volumes are made or set, or the battery changes
//	nvram.mu            held while the NVRAM is saved; not by vCPU threads
//	works.growing       work in the background begins; held by Close until it has ended
//	works.mu            work in the background ends; held while state is saved
//	pausing.mu          frames that are posted during a pause
//	firmware.mu         state, diagnostic register
//	raid.Set's          drives and volumes
//	waits.mu            EVENT_WAIT frames that are held
//	eventLog.mu         the event log
//	Faults.mu           commands that are to fail; never held with another
//	replies.mu          replies waiting for the ring
//	interrupts.mu       interrupt status and mask; held while package pci's
//	                    Interrupt methods run, so that levels keep their order
//
// Register handlers run on vCPU threads. They never wait for life or for I/O, and
// take the other locks for a few instructions only. The one that carries out a
// frame holds life as a worker does, if it is free.
//
// # Not here
//
// Package raid has no arrays of several drives and no hot spares: the commands about
// them are refused as a card without the feature does. The battery (battery.go) is as
// it is told to be, and learns (learn.go), but does not age. Patrol reads are disabled, and
// cannot be enabled. There is no expander for SMP frames to talk to. A volume is made
// anew with the Controller: what a guest sets about it is not kept, nor that it was
// initialized. Clearing and initializing end with the Controller.
//
// # Saved state
//
// [Controller.Save] writes all that a controller is while it is paused (save.go), and
// [Restore] makes another of it, over the same drives, which goes on in its place
// (restore.go): the guest's driver notices nothing. Each package has its own part:
// pci the configuration space and the MSI-X table, raid the drives and volumes, scsi
// what each target remembers, and this one the rest. Frames that were being carried
// out come to their end before; those that the guest posted during the pause, and the
// EVENT_WAIT frames that are held, are part of the state. Work in the background goes on
// where it was. Whoever adds a field to what is saved has to decide about it: a test
// asks.
package megasas
