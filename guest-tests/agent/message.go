package agent

import "time"

// Hello is what the guest says first.
type Hello struct {
	Kernel string        `json:"kernel"` // release, as uname -r prints it
	CPUs   int           `json:"cpus"`
	Uptime time.Duration `json:"uptime"` // of the guest's kernel when init started
}

// Report is the outcome of a demonstration, sent by the guest without request.
type Report struct {
	OK       bool              `json:"ok"`
	Error    string            `json:"error,omitempty"` // why OK is false
	Sums     map[string]string `json:"sums,omitempty"`  // file name to SHA-256 in hex
	Read     uint64            `json:"read"`            // bytes read from the disk since boot
	Written  uint64            `json:"written"`         // bytes written to the disk since boot
	Duration time.Duration     `json:"duration"`
}

// Command is a program to run in the guest.
type Command struct {
	Argv  []string
	Stdin []byte
	// Timeout kills the program, and all that it started, after this long.
	// Zero stands for DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout bounds commands that name no timeout of their own.
const DefaultTimeout = 5 * time.Minute

// Result is how a command ended.
type Result struct {
	// Exit is the exit status; 128 plus the number of the signal if one ended
	// the program, as a shell has it.
	Exit     int
	TimedOut bool
	Stdout   []byte
	Stderr   []byte
}

type operation string

const (
	opRun      operation = "run"
	opPowerOff operation = "poweroff"
	opReboot   operation = "reboot"
)

// request goes from host to guest; the attachment of a run is its input.
type request struct {
	ID      uint64        `json:"id"`
	Op      operation     `json:"op"`
	Argv    []string      `json:"argv,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
}

// message goes from guest to host: exactly one of the fields is set. The
// attachments of a result are its standard output and standard error.
type message struct {
	Hello  *Hello  `json:"hello,omitempty"`
	Report *Report `json:"report,omitempty"`
	Result *result `json:"result,omitempty"`
}

type result struct {
	ID       uint64 `json:"id"`
	Exit     int    `json:"exit"`
	TimedOut bool   `json:"timedOut,omitempty"`
	Error    string `json:"error,omitempty"` // the program could not be started
}
