// Package blockopt reads the options by which QEMU's image tools name a disk, and
// says what they open: those of --image-opts, of json: and blkdebug: names, and of
// --object for passphrases. Names and meanings are those of QEMU's block drivers
// file, host_device, nbd, null-co, null-aio, raw, qcow2, luks, blkdebug and compress;
// errors are in its words.
package blockopt
