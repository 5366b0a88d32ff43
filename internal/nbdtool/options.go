package nbdtool

import (
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/getopt"
)

// An option that has no letter is known by its long name.
type option struct {
	letter byte // 0: none
	long   string
	arg    string // what its argument is called; "" takes none
	about  string
}

// options are all, in the order of --help.
var options = []option{
	{'h', "help", "", "print this"},
	{'V', "version", "", "print the version"},
	{'p', "port", "PORT", "listen on this TCP port (10809)"},
	{'b', "bind", "ADDRESS", "listen on this address of the host (0.0.0.0)"},
	{'k', "socket", "PATH", "listen on a Unix socket at this absolute path"},
	{'e', "shared", "N", "admit N clients at a time (1); 0 is any number"},
	{'t', "persistent", "", "stay when the last client has left"},
	{'v', "verbose", "", "log what goes wrong with clients, with --fork as well"},
	{'x', "export-name", "NAME", "what clients ask for (nothing)"},
	{'D', "description", "TEXT", "what a list of exports says"},
	{'o', "offset", "BYTES", "where in the disk the export begins"},
	{'A', "allocation-depth", "", "tell clients how deep in the backing chain data is"},
	{'B', "bitmap", "NAME", "tell clients what is dirty in a bitmap; may be repeated"},
	{'L', "list", "", "list the exports of the server at that port or socket"},
	{0, "object", "OBJECT", "a secret (secret,id=ID,file=FILE) or TLS credentials (tls-creds-x509,id=ID,endpoint=server,dir=DIR); or the same as JSON"},
	{0, "tls-creds", "ID", "demand TLS, with these credentials; with --list, use it"},
	{0, "tls-hostname", "NAME", "name in the server's certificate, for --list"},
	{0, "tls-authz", "ID", "who may connect, by the subjects of certificates: an object authz-simple,id=ID,identity=SUBJECT or authz-list,id=ID,rules.0.match=SUBJECT,rules.0.policy=allow"},
	{'T', "trace", "PATTERN", "trace events, of which there are none"},
	{0, "fork", "", "go on in the background once clients can connect"},
	{0, "pid-file", "FILE", "write the server's process ID to this file"},
	{0, "selinux-label", "LABEL", "label of the socket: not supported"},
	{'c', "connect", "DEVICE", "serve a device of the kernel's client: not supported"},
	{'d', "disconnect", "", "let go of such a device: not supported"},
	{'f', "format", "FORMAT", "format of the disk: qcow2, raw or luks"},
	{'r', "read-only", "", "refuse writes"},
	{'s', "snapshot", "", "write to a temporary image on top, and leave FILE alone"},
	{'l', "load-snapshot", "SNAPSHOT", "serve an internal snapshot: snapshot.id=ID,snapshot.name=NAME, or ID or NAME alone"},
	{'n', "nocache", "", "bypass the host's cache, as --cache=none does"},
	{0, "cache", "MODE", "cache mode: none, writeback (the default), writethrough, directsync or unsafe"},
	{0, "aio", "MODE", "mode of asynchronous I/O: threads, native or io_uring"},
	{0, "discard", "MODE", "what becomes of storage that clients discard: ignore (the default) or unmap"},
	{0, "detect-zeroes", "MODE", "whether zeroes that are written are stored as such: off, on or unmap"},
	{0, "image-opts", "", "FILE is a list of options, not a name"},
}

// written is how an option is written.
func (o *option) written() string {
	s := "--" + o.long
	if o.letter != 0 {
		s = "-" + string(o.letter) + ", " + s
	}
	if o.arg != "" {
		s += "=" + o.arg
	}
	return s
}

// Synopsis is how the program is called.
const Synopsis = "qemu-nbd [OPTION]... FILE"

// About is what it is for.
const About = "Serve a disk image to NBD clients"

// Description says more of it.
const Description = `govmm is this server when it is called by the name qemu-nbd (a link will do). It
serves one disk at a time by the options, messages and exit statuses of QEMU's tool; more
than one are served by govmm nbd.

Unless -t is given the server ends when its last client has left. SIGTERM, SIGINT and
SIGHUP end it in good order: what it has received is finished and made durable. The
socket may be passed on by a service manager (LISTEN_FDS). With --fork the exit status is
1 if anything was printed, even a warning.`

// Manual is what there is to say of the options, for manual pages: how each is written,
// and what it does.
func Manual() (list [][2]string) {
	for _, o := range options {
		list = append(list, [2]string{o.written(), o.about})
	}
	return list
}

// help is what --help prints.
func help(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [OPTION]... FILE\n%s.\n\n%s\n\n", program, About, Description)
	for _, o := range Manual() {
		fmt.Fprintf(&b, "  %-32s %s\n", o[0], o[1])
	}
	return b.String()
}

// parse reads a command line, and hands each option to set in turn, by its long name.
// program is what the C library's errors begin with.
func parse(program string, args []string, set func(name, value string) error) (operands []string, err error) {
	known := make([]getopt.Option, len(options))
	for i, o := range options {
		known[i] = getopt.Option{Letter: o.letter, Long: o.long, Value: o.arg != ""}
	}
	operands, err = getopt.Parse(known, args, func(o *getopt.Option, value string) error { return set(o.Long, value) })
	var bad *getopt.Error
	if errors.As(err, &bad) {
		err = &usageError{program, bad}
	}
	return operands, err
}

// usageError is a command line that can't be read.
type usageError struct {
	program string
	err     error
}

func (e *usageError) Error() string { return fmt.Sprintf("%s: %v", e.program, e.err) }
