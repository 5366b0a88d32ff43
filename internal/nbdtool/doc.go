// Package nbdtool is the engine of the program under the name qemu-nbd: it serves one
// disk to NBD clients, by the options, messages and exit statuses of that tool of QEMU
// 7.2, on the server of package nbd.
package nbdtool
