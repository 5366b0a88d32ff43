// Package nbdclient is a client of the Network Block Device protocol: it makes the
// export of a server the storage of a disk.
//
// It speaks the fixed newstyle handshake with structured replies and one metadata
// context, and falls back to what older servers have, down to the handshake of one
// export alone. A server is not trusted: no length that it sends is more than what was
// asked for, and whatever it breaks of the protocol ends the connection.
//
// The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
package nbdclient
