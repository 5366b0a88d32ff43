package imgio

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/getopt"
	"golang.org/x/term"
)

// Usage is how the program is used.
const Usage = `Usage: %[1]s [OPTIONS]... [-c STRING]... [file]
Exercises a disk image by commands, from -c or from the standard input.

      --image-opts     the file is given by options, such as driver=raw,file.filename=x
      --object OBJECT  a passphrase: secret,id=NAME,data=TEXT or secret,id=NAME,file=FILE; or TLS
                       credentials: tls-creds-x509,id=NAME,dir=DIR; or the same as JSON
  -c, --cmd STRING     carry out a command; may be repeated
  -f, --format FMT     format of the image: qcow2, raw or luks
  -r, --read-only      open for reading only
  -s, --snapshot       write to a temporary image on top
  -n, --nocache        bypass the host's cache, as -t none does
  -C, --copy-on-read   keep what is read of backing files
  -m, --misalign       misalign buffers for direct I/O
  -k, --native-aio     mode of asynchronous I/O: that of the kernel
  -i, --aio=MODE       mode of asynchronous I/O: threads, native or io_uring
  -t, --cache=MODE     cache mode: none, writeback, writethrough, directsync or unsafe
  -d, --discard=MODE   discard mode: ignore or unmap
  -U, --force-share    open though others may be writing
  -h, --help           print this
  -V, --version        print the version

'%[1]s -c help' lists the commands.
`

// Letters of options that have only a long name.
const (
	optObject       = '\x01'
	optImageOptions = '\x02'
)

// programOptions are the options of the program.
var programOptions = []getopt.Option{
	{Letter: 'h', Long: "help"}, {Letter: 'V', Long: "version"}, {Letter: 'c', Long: "cmd", Value: true},
	{Letter: 'f', Long: "format", Value: true}, {Letter: 'r', Long: "read-only"}, {Letter: 's', Long: "snapshot"},
	{Letter: 'n', Long: "nocache"}, {Letter: 'C', Long: "copy-on-read"}, {Letter: 'm', Long: "misalign"},
	{Letter: 'k', Long: "native-aio"}, {Letter: 'i', Long: "aio", Value: true}, {Letter: 'd', Long: "discard", Value: true},
	{Letter: 't', Long: "cache", Value: true}, {Letter: 'T', Long: "trace", Value: true}, {Letter: 'U', Long: "force-share"},
	{Letter: optObject, Long: "object", Value: true}, {Letter: optImageOptions, Long: "image-opts"},
}

// Main is the program: args are its arguments without its name. It returns the
// exit status: 1 if anything failed.
func Main(name, version string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := NewSession(name, stdout, stderr)
	s.Objects = blockopt.NewObjects()
	s.Objects.Warn = s.warn
	fail := func(err error) int {
		s.complain("%v", err)
		return 1
	}
	f, ok := parse(name, args, programOptions, stderr)
	if !ok || len(f.args) > 1 {
		fmt.Fprintf(stdout, Usage, name)
		return 1
	}
	o := openOptions{cache: cacheMode{writethrough: true}}
	format, lines := "", []string(nil)
	for _, x := range f.seen {
		if known, err := o.set(x); err != nil {
			return fail(err)
		} else if known {
			continue
		}
		switch x.letter {
		case 'h':
			fmt.Fprintf(stdout, Usage, name)
			return 0
		case 'V':
			fmt.Fprintf(stdout, "%s version %s\n", name, version)
			return 0
		case 'c':
			lines = append(lines, x.value)
		case 'f':
			format = x.value
		case 'm':
			s.Misalign = true
		case optImageOptions:
			s.ImageOptions = true
		case optObject:
			if err := s.Objects.Add(x.value); err != nil {
				return fail(err)
			}
		case 'T':
			listed, missing := blockopt.Trace(x.value)
			if listed {
				return 0
			}
			if missing != "" {
				s.warn(missing)
			}
		}
	}
	if format != "" && s.ImageOptions {
		return fail(refuse("--image-opts and -f are mutually exclusive"))
	}
	if len(f.args) == 1 {
		if s.ImageOptions {
			o.tree = blockopt.ParseOptions(f.args[0], s.warn)
		} else if o.name, o.named = f.args[0], true; format != "" {
			o.tree = blockopt.NewTree(blockopt.Option{Name: "driver", Value: format})
		}
		if !s.openImage(&o) {
			return 1
		}
	}
	good := s.loop(lines, stdin)
	if s.disk != nil && s.disk.debug != nil {
		s.disk.debug.ResumeAll() // nobody else will
	}
	s.wait()
	d := s.disk
	if err := s.Close(); err != nil {
		good = s.sayClose(d, err) && good
	}
	if !good {
		return 1
	}
	return 0
}

// loop carries out lines or, if there are none, what comes from stdin.
func (s *Session) loop(lines []string, stdin io.Reader) bool {
	good := true
	if len(lines) > 0 {
		for _, line := range lines {
			if s.quit {
				break
			}
			good = s.Run(line) && good
		}
		return good
	}
	next := s.reader(stdin)
	for !s.quit {
		line, ok := next()
		if !ok {
			break
		}
		good = s.Run(line) && good
	}
	return good
}

// reader returns what reads the next line, after a prompt.
// On a terminal lines can be edited, and called back from the history.
func (s *Session) reader(stdin io.Reader) (next func() (string, bool)) {
	prompt := s.Name + "> "
	file, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		in := newLineReader(stdin)
		return func() (string, bool) {
			s.printf("%s", prompt)
			s.flushOut()
			return in.next()
		}
	}
	fd := int(file.Fd())
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{stdin, s.Out}, prompt)
	t.AutoCompleteCallback = complete
	return func() (string, bool) {
		// Only while a line is read: commands print to a terminal as it was.
		old, err := term.MakeRaw(fd)
		if err != nil {
			return "", false
		}
		line, err := t.ReadLine()
		_ = term.Restore(fd, old)
		return line, err == nil
	}
}

// complete completes the name of a command at the tabulator key.
func complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' || pos != len(line) || strings.Contains(line, " ") {
		return "", 0, false
	}
	names := Complete(line)
	if len(names) == 0 {
		return "", 0, false
	}
	common := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, common) {
			common = common[:len(common)-1]
		}
	}
	if len(names) == 1 {
		common += " "
	}
	return common, len(common), true
}
