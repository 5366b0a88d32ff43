package nbd

// Magic numbers of the protocol.
const (
	magicServer          = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption          = 0x49484156454f5054 // "IHAVEOPT"
	magicOptionReply     = 0x0003e889045565a9
	magicRequest         = 0x25609513
	magicSimpleReply     = 0x67446698
	magicStructuredReply = 0x668e33ef
)

// Handshake flags of the server, and of the client at the same places.
const (
	handshakeFixedNewstyle = 1 << 0
	handshakeNoZeroes      = 1 << 1
)

// Option codes.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Option reply types.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repError       = 1 << 31
	repErrUnsup    = repError | 1
	repErrPolicy   = repError | 2
	repErrInvalid  = repError | 3
	repErrTLSReqd  = repError | 5
	repErrUnknown  = repError | 6
	repErrShutdown = repError | 7
	repErrTooBig   = repError | 9
)

// Information types of INFO and GO.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags.
const (
	flagHasFlags        = 1 << 0
	flagReadOnly        = 1 << 1
	flagSendFlush       = 1 << 2
	flagSendFUA         = 1 << 3
	flagSendTrim        = 1 << 5
	flagSendWriteZeroes = 1 << 6
	flagSendDF          = 1 << 7
	flagCanMultiConn    = 1 << 8
	flagSendCache       = 1 << 10
	flagSendFastZero    = 1 << 11
)

type command uint16

// Commands.
const (
	cmdRead        command = 0
	cmdWrite       command = 1
	cmdDisconnect  command = 2
	cmdFlush       command = 3
	cmdTrim        command = 4
	cmdCache       command = 5
	cmdWriteZeroes command = 6
	cmdBlockStatus command = 7
	commands               = 8
)

// Command flags.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4
)

// allowedFlags are the command flags that each command knows.
var allowedFlags = [commands]uint16{
	cmdRead:        cmdFlagDF | cmdFlagFUA,
	cmdWrite:       cmdFlagFUA,
	cmdTrim:        cmdFlagFUA,
	cmdFlush:       cmdFlagFUA,
	cmdCache:       cmdFlagFUA,
	cmdWriteZeroes: cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero,
	cmdBlockStatus: cmdFlagReqOne | cmdFlagFUA,
}

// Structured reply chunk types, and the flag of the last chunk.
const (
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkBlockStatus = 5
	chunkError       = 1<<15 | 1

	chunkFlagDone = 1
)

// Error values, those of Linux on x86.
const (
	errnoPerm     = 1
	errnoIO       = 5
	errnoNoMem    = 12
	errnoInval    = 22
	errnoNoSpace  = 28
	errnoOverflow = 75
	errnoNotSup   = 95
	errnoShutdown = 108
)

// Flags of the metadata context base:allocation.
const (
	// StatusHole says that no storage stands behind the range.
	StatusHole = 1 << 0
	// StatusZero says that the range reads as zeroes.
	StatusZero = 1 << 1
)

// BaseAllocation is the metadata context of the protocol itself: what is
// allocated, and what reads as zeroes.
const BaseAllocation = "base:allocation"

const (
	requestSize     = 28
	simpleReplySize = 16
	chunkHeaderSize = 20

	maxName       = 4096     // bytes of an export name or a string
	maxOptionData = 64 << 10 // bytes of data of one option
	maxQueries    = 1024     // queries in one option about metadata contexts

	// MaxRequest is the most bytes that one READ or WRITE may move.
	MaxRequest = 32 << 20
)
