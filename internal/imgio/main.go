package imgio

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/govmm/govmm/internal/blockopt"
	"golang.org/x/term"
)

// Usage is how the program is used.
const Usage = `Usage: %[1]s [OPTIONS]... [-c STRING]... [file]
Exercises a disk image by commands, from -c or from the standard input.

      --image-opts     the file is given by options, such as driver=raw,file.filename=x
      --object OBJECT  a passphrase: secret,id=NAME,data=TEXT or secret,id=NAME,file=FILE
  -c, --cmd STRING     carry out a command; may be repeated
  -f, --format FMT     format of the image: qcow2, raw or luks
  -r, --read-only      open for reading only
  -s, --snapshot       write to a temporary image on top
  -n, --nocache        bypass the host's cache, as -t none does
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

// longOptions are the names of the options of the program; a name in front of
// a colon has a value.
func longOptions() map[string]byte {
	return map[string]byte{
		"help": 'h', "version": 'V', "cmd:": 'c', "format:": 'f', "read-only": 'r', "snapshot": 's', "nocache": 'n',
		"copy-on-read": 'C', "misalign": 'm', "native-aio": 'k', "aio:": 'i', "discard:": 'd', "cache:": 't', "trace:": 'T',
		"object:": optObject, "image-opts": optImageOptions, "force-share": 'U',
	}
}

// Main is the program: args are its arguments without its name. It returns the
// exit status: 1 if anything failed.
func Main(name, version string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := NewSession(name, stdout, stderr)
	s.Secrets = make(blockopt.Secrets)
	fail := func(err error) int {
		s.complain("%v", err)
		return 1
	}
	short, ok := shorten(name, args, stderr)
	var f flags
	if ok {
		f, ok = getopt(name, short, "hVc:d:f:rsnCmki:t:T:U"+string(optObject)+":"+string(optImageOptions), stderr)
	}
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
			if err := s.Secrets.Add(x.value); err != nil {
				return fail(err)
			}
		case 'T':
			return fail(refuse("-T, --trace: tracing is not supported"))
		}
	}
	if format != "" && s.ImageOptions {
		return fail(refuse("--image-opts and -f are mutually exclusive"))
	}
	if len(f.args) == 1 {
		if s.ImageOptions {
			o.tree = blockopt.ParseOptions(f.args[0])
		} else if o.name = f.args[0]; format != "" {
			o.tree = blockopt.NewTree(blockopt.Option{Name: "driver", Value: format})
		}
		if !s.openImage(&o) {
			return 1
		}
	}
	good := s.loop(lines, stdin)
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

// shorten replaces long options, which may be cut short, by letters.
func shorten(name string, args []string, stderr io.Writer) ([]string, bool) {
	var short []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(short, args[i:]...), true
		}
		long, ok := strings.CutPrefix(arg, "--")
		if !ok {
			short = append(short, arg)
			if len(arg) == 2 && arg[0] == '-' && strings.IndexByte("cdfitT", arg[1]) >= 0 && i+1 < len(args) {
				i++ // its value is none of ours
				short = append(short, args[i])
			}
			continue
		}
		word, value, given := strings.Cut(long, "=")
		letter, takes, found := byte(0), false, 0
		for option, l := range longOptions() {
			plain, t := strings.CutSuffix(option, ":")
			if plain == word {
				letter, takes, found = l, t, 1
				break
			}
			if strings.HasPrefix(plain, word) {
				letter, takes, found = l, t, found+1
			}
		}
		switch {
		case found == 0:
			fmt.Fprintf(stderr, "%s: unrecognized option '%s'\n", name, arg)
			return nil, false
		case found > 1:
			fmt.Fprintf(stderr, "%s: option '%s' is ambiguous\n", name, arg)
			return nil, false
		case given && !takes:
			fmt.Fprintf(stderr, "%s: option '--%s' doesn't allow an argument\n", name, word)
			return nil, false
		case takes && !given:
			if i++; i == len(args) {
				fmt.Fprintf(stderr, "%s: option '%s' requires an argument\n", name, arg)
				return nil, false
			}
			value = args[i]
		}
		short = append(short, "-"+string(letter))
		if takes {
			short = append(short, value)
		}
	}
	return short, true
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
