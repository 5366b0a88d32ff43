// Package console connects a person's terminal to a guest's serial port.
//
// A terminal is put in raw mode, so that every key reaches the guest, except
// for an escape key that starts a command of the console itself, as in QEMU:
//
//	Ctrl-A X       stop the machine
//	Ctrl-A H       list these commands
//	Ctrl-A Ctrl-A  send one Ctrl-A to the guest (Ctrl-A A does the same)
//
// Any other key after Ctrl-A is dropped together with it.
//
// Raw mode is undone on every way out of the program. Close does it on the
// orderly ones. For the others (a panic of any goroutine, a fatal signal,
// SIGKILL) a small guard process waits on a pipe that the kernel closes when
// the program dies, and then restores the terminal.
//
// Input that is no terminal is passed on as it is; nothing is taken out of it.
package console
