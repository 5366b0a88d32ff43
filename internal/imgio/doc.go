// Package imgio exercises disk images by commands: it reads, writes and maps
// ranges, verifies patterns, holds requests at breakpoints, and reports what each
// took. Commands, options, messages and exit status are those of qemu-io, so that
// scripts written for that go on working.
//
// A Session is one open image with its requests in progress; Main is the
// command-line program around it.
//
// The mode of asynchronous I/O (-i, -k) is checked, and then left to package qcow2.
//
// A Session belongs to one goroutine. Asynchronous requests run on others, but
// report on that one, while a command waits or the next one runs.
package imgio
