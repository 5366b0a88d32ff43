// Package blkdebug makes the storage of an image fail at chosen moments, as
// QEMU's driver of that name does: rules wait for points that the engine passes
// (qcow2.Event), and then let the I/O on the file that follows fail, change a
// state that other rules depend on, or hold the request until it is resumed.
//
// A Debug is the rules with their state. Its method Event goes into
// qcow2.Options.Event, and Wrap around the file of the image; storage without
// such points calls Check by itself.
//
// Limits are what the storage is said to be able to do; requests are split along them, and
// widened to whole units of align. "immediately" is accepted:
// a failed call returns its error at once in any case.
//
// All methods may be called from any number of goroutines.
package blkdebug
