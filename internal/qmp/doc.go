// Package qmp is the QEMU Machine Protocol (QEMU, docs/interop/qmp-spec.rst), both
// ends of it: a Server that carries out commands for any number of clients, and a
// Client. It knows nothing of a machine: commands are functions that are given to
// it, and the schema that clients ask for is made of the types of those functions.
//
// Requests are read as QEMU reads them, strings in single quotes and all, and what is
// wrong with one is said in QEMU's words. A byte that no JSON has, such as 0xFF, makes
// the server forget what there is of a request. Each request gets one line, in order
// for one client; requests by "exec-oob" pass the queue, if the client has negotiated
// that and the command allows it.
//
// # Clients that are hostile or slow
//
// A request has at most MaxRequest bytes; the client of a longer one is cut off. A
// client may have eight requests waiting; beyond that it is not read from. What is to
// be sent to a client that does not read waits in memory up to a limit; a client
// beyond it is cut off. There are at most MaxClients. Events that a guest can cause
// without end come once a second ([Config.Throttled]), so that it can't have its
// clients cut off.
//
// # Not supported
//
// There is no "x-" or "__" namespace. Arguments have no fractions.
package qmp
