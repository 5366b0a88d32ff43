// Package nbdproto has the numbers of the NBD protocol (doc/proto.md of the project NBD),
// for the server and the clients. All of them are big-endian where they are sent.
package nbdproto

// Magic numbers of the protocol.
const (
	MagicOld             = 0x00420281861253   // of servers without options
	MagicServer          = 0x4e42444d41474943 // "NBDMAGIC"
	MagicOption          = 0x49484156454f5054 // "IHAVEOPT"
	MagicOptionReply     = 0x0003e889045565a9
	MagicRequest         = 0x25609513
	MagicSimpleReply     = 0x67446698
	MagicStructuredReply = 0x668e33ef
)

// Handshake flags of the server, and of the client at the same places.
const (
	HandshakeFixedNewstyle = 1 << 0
	HandshakeNoZeroes      = 1 << 1
)

// Option codes.
const (
	OptExportName      = 1
	OptAbort           = 2
	OptList            = 3
	OptStartTLS        = 5
	OptInfo            = 6
	OptGo              = 7
	OptStructuredReply = 8
	OptListMetaContext = 9
	OptSetMetaContext  = 10
)

// Option reply types.
const (
	RepAck         = 1
	RepServer      = 2
	RepInfo        = 3
	RepMetaContext = 4

	RepError       = 1 << 31
	RepErrUnsup    = RepError | 1
	RepErrPolicy   = RepError | 2
	RepErrInvalid  = RepError | 3
	RepErrPlatform = RepError | 4
	RepErrTLSReqd  = RepError | 5
	RepErrUnknown  = RepError | 6
	RepErrShutdown = RepError | 7
	RepErrBlocks   = RepError | 8 // the server wants InfoBlockSize to be asked for
	RepErrTooBig   = RepError | 9
)

// Information types of INFO and GO.
const (
	InfoExport      = 0
	InfoName        = 1
	InfoDescription = 2
	InfoBlockSize   = 3
)

// Transmission flags.
const (
	FlagHasFlags        = 1 << 0
	FlagReadOnly        = 1 << 1
	FlagSendFlush       = 1 << 2
	FlagSendFUA         = 1 << 3
	FlagSendTrim        = 1 << 5
	FlagSendWriteZeroes = 1 << 6
	FlagSendDF          = 1 << 7
	FlagCanMultiConn    = 1 << 8
	FlagSendCache       = 1 << 10
	FlagSendFastZero    = 1 << 11
)

// Commands.
const (
	CmdRead        = 0
	CmdWrite       = 1
	CmdDisconnect  = 2
	CmdFlush       = 3
	CmdTrim        = 4
	CmdCache       = 5
	CmdWriteZeroes = 6
	CmdBlockStatus = 7
)

// Command flags.
const (
	CmdFlagFUA      = 1 << 0
	CmdFlagNoHole   = 1 << 1
	CmdFlagDF       = 1 << 2
	CmdFlagReqOne   = 1 << 3
	CmdFlagFastZero = 1 << 4
)

// Structured reply chunk types, and the flag of the last chunk.
const (
	ChunkNone        = 0
	ChunkOffsetData  = 1
	ChunkOffsetHole  = 2
	ChunkBlockStatus = 5
	ChunkErrorBit    = 1 << 15
	ChunkError       = ChunkErrorBit | 1
	ChunkErrorOffset = ChunkErrorBit | 2

	ChunkFlagDone = 1
)

// Error values, those of Linux on x86.
const (
	ErrnoPerm     = 1
	ErrnoIO       = 5
	ErrnoNoMem    = 12
	ErrnoInval    = 22
	ErrnoNoSpace  = 28
	ErrnoOverflow = 75
	ErrnoNotSup   = 95
	ErrnoShutdown = 108
)

// Sizes in bytes, without what some are followed by.
const (
	RequestSize     = 28
	SimpleReplySize = 16
	ChunkHeaderSize = 20
)
