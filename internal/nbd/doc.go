// Package nbd serves block devices over the Network Block Device protocol, after
// doc/proto.md of the NBD project.
//
// Served are the fixed newstyle handshake with and without TLS (STARTTLS),
// simple and structured replies, block status by metadata contexts, and the
// commands READ, WRITE, FLUSH, TRIM, CACHE and WRITE_ZEROES with all their flags.
// The oldstyle handshake, extended headers and RESIZE are not; their option
// codes get NBD_REP_ERR_UNSUP.
//
// # Concurrency
//
// A connection is served by up to maxWorkers goroutines. One of them at a time
// holds the connection's receive lock, takes a request off the stream, and
// either carries it out with the lock held, when requests of its kind have been
// so quick that waking a second goroutine would cost more or the client has sent
// one at a time only, or passes the lock on first. Replies collect while one goroutine is in the write call, and leave
// together in the next.
//
// Long READs of what the host has in its cache are not copied: their worker splices
// pages into a pipe with the receive lock held, and who sends the reply moves them on
// into the Unix socket. The device holds them until the client has taken them.
//
// Long READs with direct I/O are not copied either: the kernel reads into pages of its own
// in a pipe, a conduit, while a worker waits for it, and they are moved on in the same way.
// They are nobody else's, so nothing is held.
//
// Where the device can start transfers (direct I/O), READs and the WRITEs of a
// client that sends many at once wait in no goroutine: the worker starts all that it
// has received, hands them in together, and receives on. Who takes the ends of
// transfers queues the replies, and the connection's sender writes them out.
//
// Long WRITEs to such a device begin before their ends arrive: they are started in parts.
// Into the page cache they go from the Unix socket through a conduit, without being in
// the process's memory, with the receive lock held.
//
// # Hostile clients
//
// Everything a client says is bounded before memory is taken for it: options to
// maxOptionData bytes, payloads in pieces of pieceSize, requests in progress by
// a budget for each connection, connections by Server.MaxConnections. A request
// that can't be served gets an error reply; a stream that can't be followed any
// more is closed.
package nbd
