package imgio

import (
	"slices"
	"strings"
)

// command is a row of the table of commands.
type command struct {
	name, alias string
	args        string // how it is used
	line        string // what it does
	help        string // more about that, and its options
	letters     string // of its options, for getopt
	min, max    int    // arguments, options among them; max -1: any number
	anytime     bool   // also without an image
	writes      bool   // not on an image that is only read
	run         func(s *Session, c *command, words []string) bool
}

const statistics = ` -C  print the statistics in one line with commas, for programs
 -q  print no statistics
`

// commands returns the table, sorted by name.
func commands() []*command {
	list := []*command{
		{name: "read", alias: "r", args: "[-abCqv] [-P pattern [-s off] [-l len]] off len", line: "reads a number of bytes at a specified offset",
			letters: "bCl:pP:qs:v", min: 2, max: -1, run: (*Session).read,
			help: `'read -v 512 1k' shows the two sectors behind the first one.
` + statistics + ` -v  show what was read
 -P  compare it with this byte; from -s on, for -l bytes
 -b  read the machine's state, not the disk
 -p  without effect
`},
		{name: "readv", args: "[-Cqv] [-P pattern] off len [len..]", line: "reads a number of bytes at a specified offset",
			letters: "CP:qv", min: 2, max: -1, run: (*Session).readv,
			help: `'readv 0 1k 2k' reads 3 KiB in one request with two buffers.
` + statistics + ` -v  show what was read
 -P  compare it with this byte
`},
		{name: "write", alias: "w", args: "[-bcCfnquz] [-P pattern | -s source_file] off len", line: "writes a number of bytes at a specified offset",
			letters: "bcCfnpP:qs:uz", min: 2, max: -1, writes: true, run: (*Session).write,
			help: `'write -P 7 512 1k' fills two sectors with sevens.
` + statistics + ` -P  the byte to write (0xcd)
 -s  write what this file holds, over and over
 -z  write zeroes; with -u give the storage back, with -n only if that is fast
 -c  write compressed clusters
 -f  make it durable before it counts as written
 -b  write the machine's state, not the disk
 -p  without effect
`},
		{name: "writev", args: "[-Cfq] [-P pattern] off len [len..]", line: "writes a number of bytes at a specified offset",
			letters: "CfqP:", min: 2, max: -1, writes: true, run: (*Session).writev,
			help: `'writev 0 1k 2k' writes 3 KiB in one request with two buffers.
` + statistics + ` -P  the byte to write (0xcd)
 -f  make it durable before it counts as written
`},
		{name: "aio_read", args: "[-Ciqv] [-P pattern] off len [len..]", line: "asynchronously reads a number of bytes",
			letters: "CP:iqv", min: 2, max: -1, run: (*Session).aioRead,
			help: `The command succeeds once the request has begun; aio_flush waits for its end.
` + statistics + ` -v  show what was read
 -P  compare it with this byte
 -i  count an invalid request
`},
		{name: "aio_write", args: "[-Cfiquz] [-P pattern] off len [len..]", line: "asynchronously writes a number of bytes",
			letters: "CfiqP:uz", min: 2, max: -1, writes: true, run: (*Session).aioWrite,
			help: `The command succeeds once the request has begun; aio_flush waits for its end.
` + statistics + ` -P  the byte to write (0xcd)
 -z  write zeroes; with -u give the storage back
 -f  make it durable before it counts as written
 -i  count an invalid request
`},
		{name: "aio_flush", line: "completes all outstanding aio requests", run: (*Session).aioFlush},
		{name: "flush", alias: "f", line: "flush all in-core file state to disk", run: (*Session).flush},
		{name: "truncate", alias: "t", args: "[-m prealloc_mode] off", line: "truncates the current file at the given offset",
			letters: "m:", min: 1, max: 3, writes: true, run: (*Session).truncate},
		{name: "length", alias: "l", line: "gets the length of the current file", run: (*Session).length},
		{name: "info", alias: "i", line: "prints information about the current file", run: (*Session).info},
		{name: "discard", alias: "d", args: "[-Cq] off len", line: "discards a number of bytes at a specified offset",
			letters: "Cq", min: 2, max: -1, writes: true, run: (*Session).discard,
			help: `'discard 1M 64k' gives the storage of 64 KiB back.
` + statistics},
		{name: "alloc", alias: "a", args: "offset [count]", line: "checks if offset is allocated in the file", min: 1, max: 2, run: (*Session).alloc},
		{name: "map", args: "", line: "prints the allocated areas of a file", run: (*Session).mapAll},
		{name: "open", alias: "o", args: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", line: "open the file specified by path",
			letters: "snCro:ki:t:d:U", min: 1, max: -1, anytime: true, run: (*Session).open,
			help: `'open -r -o driver=raw disk' opens a raw file for reading.
 -r  for reading only
 -s  write to a temporary image on top
 -n  bypass the host's cache, as -t none does
 -t  cache mode: none, writeback, writethrough, directsync or unsafe
 -d  discard mode: ignore or unmap
 -U  though others may be writing
 -o  options of the image's driver
 -C  keep what is read from backing files
 -k, -i  mode of asynchronous I/O
`},
		{name: "close", alias: "c", line: "close the current open file", run: (*Session).closeCommand},
		{name: "reopen", args: "[(-r|-w)] [-c cache] [-o options]", line: "reopens an image with new options",
			letters: "c:o:rw", max: -1, run: (*Session).reopen,
			help: ` -r  for reading only
 -w  for writing, too
 -c  cache mode
 -o  options of the image's driver
`},
		{name: "break", args: "event tag", line: "sets a breakpoint on event and tags the stopped request as tag", min: 2, max: 2, run: (*Session).breakAt},
		{name: "remove_break", args: "tag", line: "remove a breakpoint by tag", min: 1, max: 1, run: (*Session).removeBreak},
		{name: "resume", args: "tag", line: "resumes the request tagged as tag", min: 1, max: 1, run: (*Session).resume},
		{name: "wait_break", args: "tag", line: "waits for the suspension of a request", min: 1, max: 1, run: (*Session).waitBreak},
		{name: "sleep", line: "waits for the given value in milliseconds", min: 1, max: 1, anytime: true, run: (*Session).sleep},
		{name: "abort", line: "simulate a program crash using abort(3)", anytime: true, run: (*Session).abort},
		{name: "sigraise", args: "signal", line: "raises a signal", min: 1, max: 1, anytime: true, run: (*Session).raise,
			help: "'sigraise 15' ends the program as SIGTERM does.\n"},
		{name: "help", alias: "?", args: "[command]", line: "help for one or all commands", max: 1, anytime: true, run: (*Session).helpCommand},
		{name: "quit", alias: "q", line: "exit the program", max: -1, anytime: true,
			run: func(s *Session, _ *command, _ []string) bool { s.quit = true; return true }},
	}
	slices.SortFunc(list, func(a, b *command) int { return strings.Compare(a.name, b.name) })
	return list
}

func findCommand(name string) *command {
	for _, c := range commands() {
		if c.name == name || c.alias == name {
			return c
		}
	}
	return nil
}

// Complete returns the names of commands that begin with prefix.
func Complete(prefix string) []string {
	var names []string
	for _, c := range commands() {
		if strings.HasPrefix(c.name, prefix) {
			names = append(names, c.name)
		}
	}
	return names
}

// usage prints how a command is used.
func (s *Session) usage(c *command) { s.printf("%s %s -- %s\n", c.name, c.args, c.line) }

// oneLine prints a line of the list of commands.
func (s *Session) oneLine(name string, c *command) {
	args := c.args
	if args != "" || c.name == "map" { // as qemu-io has it
		args += " "
	}
	s.printf("%s %s-- %s\n", name, args, c.line)
}

func (s *Session) helpCommand(_ *command, words []string) bool {
	if len(words) == 1 {
		for _, c := range commands() {
			s.oneLine(c.name, c)
		}
		s.printf("\nUse 'help commandname' for extended help.\n")
		return true
	}
	c := findCommand(words[1])
	if c == nil {
		s.printf("command %s not found\n", words[1])
		return false
	}
	s.oneLine(words[1], c)
	if c.help != "" {
		s.printf("\n%s\n", c.help)
	}
	return true
}
