// Package agent is the channel between a test on the host and the init program
// in its guest: commands go in, their exit status and output come out. It runs
// over any byte stream that neither loses nor adds anything; in a machine that
// is the second serial port, in raw mode, so that nothing is ever guessed from
// the text on the console.
//
// The guest speaks first: a Hello once it is up. Then the host sends requests,
// several at a time if it likes, and the guest answers each with a result that
// carries the request's number. A serial port costs an exit or two for each
// byte, so large messages are compressed.
//
// There is no recovery from a damaged stream: frames carry a checksum, and the
// first one that does not match ends the connection with an error.
package agent
