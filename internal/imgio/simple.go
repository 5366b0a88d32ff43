package imgio

import (
	"context"
	"errors"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/blkdebug"
	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/imgtool"
	"github.com/govmm/govmm/qcow2"
)

func (s *Session) flush(*command, []string) bool {
	err := s.disk.dev.Flush()
	s.deliver()
	s.disk.unflushed.Store(err != nil)
	return err == nil
}

func (s *Session) length(*command, []string) bool {
	s.printf("%s\n", amount(float64(s.disk.dev.Size())))
	return true
}

func (s *Session) truncate(c *command, words []string) bool {
	f, ok := s.options(c, words, 1, 1)
	if !ok {
		return false
	}
	mode := "off"
	for _, x := range f.seen {
		mode = x.value
	}
	preallocation, ok := qcow2.ParsePreallocation(mode)
	if !ok {
		s.complain("Invalid preallocation mode '%s'", mode)
		return false
	}
	size, ok := s.number(f.args[0])
	if !ok {
		return false
	}
	r, resizable := s.disk.dev.(block.Preallocator)
	switch {
	case !resizable:
		s.complain("Image format driver does not support resize")
		return false
	case mode != "off" && size < s.disk.dev.Size() && s.disk.driver == block.FormatRaw:
		s.complain("Cannot use preallocation for shrinking files")
		return false
	case mode != "off" && size < s.disk.dev.Size():
		s.complain("Preallocation can't be used for shrinking an image")
		return false
	case size%512 != 0 && s.disk.spec.Format == block.FormatQCOW2:
		s.complain("The new size must be a multiple of 512")
		return false
	}
	s.wait()
	err := block.ResizeBytes(r, size, qcow2.ResizeOptions{Preallocation: preallocation})
	switch {
	case errors.Is(err, qcow2.ErrTooLarge):
		s.complain("Failed to grow the L1 table: File too large")
	case err != nil:
		s.complain("%v", err)
	}
	return err == nil
}

func (s *Session) info(*command, []string) bool {
	s.printf("format name: %s\n", s.disk.driver)
	switch s.disk.driver {
	case "file", "host_device", "host_cdrom", "nbd", "null-co", "null-aio", "blkdebug":
		s.printf("format name: %s\n", s.disk.driver) // of the protocol, too
	}
	im, ok := s.disk.below()
	if below := s.disk.spec.Storage; s.disk.spec.Format == block.FormatNull || !ok && below != nil && below.Remote != nil {
		return false // nothing more is known
	}
	if !ok {
		s.printf("cluster size: %s\nvm state offset: %s\n", amount(0), amount(0))
		return true
	}
	info := im.Info()
	// The machine's state begins behind what the L1 entries of the disk map.
	word := int64(8)
	if info.ExtendedL2 {
		word = 16
	}
	entry := info.ClusterSize * (info.ClusterSize / word)
	state := (info.Size + entry - 1) / entry * entry
	s.printf("cluster size: %s\nvm state offset: %s\n", amount(float64(info.ClusterSize)), amount(float64(state)))
	if s.disk.driver == block.FormatQCOW2 {
		s.printf("Format specific information:\n%s", imgtool.Specific(&info))
	}
	return true
}

func (s *Session) discard(c *command, words []string) bool {
	f, ok := s.options(c, words, 2, 2)
	if !ok {
		return false
	}
	off, n, ok := s.place(f.args, "", true)
	if !ok {
		return false
	}
	begin := time.Now()
	var err error
	if size := s.disk.dev.Size(); off > size-n {
		err = syscall.EIO
	} else if s.disk.unmap {
		err = s.disk.dev.Discard(off, n)
	}
	took := time.Since(begin)
	s.deliver()
	if err != nil {
		s.printf("discard failed: %s\n", text(err))
		return false
	}
	if !f.has('q') {
		s.report("discard", took, off, n, n, f.has('C'))
	}
	return true
}

func (s *Session) alloc(_ *command, words []string) bool {
	off, ok := s.number(words[1])
	if !ok {
		return false
	}
	count := int64(512)
	if len(words) == 3 {
		if count, ok = s.number(words[2]); !ok {
			return false
		}
	}
	count = max(0, min(count, s.disk.dev.Size()-off))
	sum := int64(0)
	for at, rest := off, count; rest > 0; {
		here, n, err := s.disk.allocated(at, rest)
		if err != nil {
			s.printf("is_allocated failed: %s\n", text(err))
			return false
		}
		if here {
			sum += n
		}
		at, rest = at+n, rest-n
	}
	s.printf("%d/%d bytes allocated at offset %s\n", sum, count, amount(float64(off)))
	return true
}

func (s *Session) mapAll(*command, []string) bool {
	for off, size := int64(0), s.disk.dev.Size(); off < size; {
		here, n, err := s.disk.allocated(off, size-off)
		if err != nil {
			s.complain("Failed to get allocation status: %s", text(err))
			return false
		}
		word := "not allocated"
		if here {
			word = "    allocated"
		}
		s.printf("%s (0x%x) bytes %s at offset %s (0x%x)\n", amount(float64(n)), n, word, amount(float64(off)), off)
		off += n
	}
	return true
}

// debugger returns what holds breakpoints; without one, the error says that
// nobody does.
func (s *Session) debugger() (*blkdebug.Debug, error) {
	if s.disk.debug == nil {
		return nil, syscall.ENOTSUP
	}
	return s.disk.debug, nil
}

func (s *Session) breakAt(_ *command, words []string) bool {
	d, err := s.debugger()
	if err == nil {
		e, ok := qcow2.ParseEvent(words[1])
		if ok {
			d.Break(e, words[2])
			return true
		}
		err = syscall.ENOENT
	}
	s.printf("Could not set breakpoint: %s\n", text(err))
	return false
}

func (s *Session) removeBreak(_ *command, words []string) bool {
	d, err := s.debugger()
	if err == nil {
		err = noTag(d.RemoveBreak(words[1]))
	}
	if err != nil {
		s.printf("Could not remove breakpoint %s: %s\n", words[1], text(err))
		return false
	}
	return true
}

func (s *Session) resume(_ *command, words []string) bool {
	d, err := s.debugger()
	if err == nil {
		err = noTag(d.Resume(words[1]))
	}
	if err != nil {
		s.printf("Could not resume request: %s\n", text(err))
		return false
	}
	return true
}

func noTag(err error) error {
	if errors.Is(err, blkdebug.ErrNoTag) {
		return syscall.ENOENT
	}
	return err
}

// waitBreak waits while other requests go on and report. Unlike qemu-io it does
// not wait for what can't come any more.
func (s *Session) waitBreak(_ *command, words []string) bool {
	d, err := s.debugger()
	if err != nil {
		s.printf("Could not wait for breakpoint %s: %s\n", words[1], text(err))
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	suspended := make(chan struct{})
	go func() {
		if d.Wait(ctx, words[1]) == nil {
			close(suspended)
		}
	}()
	for s.running > 0 {
		select {
		case report := <-s.done:
			report()
		case <-suspended:
			return true
		}
	}
	s.printf("Could not wait for breakpoint %s: %s\n", words[1], text(syscall.ENOENT))
	return false
}

func (s *Session) sleep(_ *command, words []string) bool {
	ms, err := strconv.ParseInt(words[1], 0, 64)
	if err != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		s.printf("%s is not a valid number\n", words[1])
		return false
	}
	over := time.After(time.Duration(ms) * time.Millisecond)
	for {
		select {
		case report := <-s.done:
			report()
		case <-over:
			return true
		}
	}
}

func (s *Session) raise(_ *command, words []string) bool {
	const most = 65 // NSIG
	n, ok := s.number(words[1])
	if !ok {
		return false
	}
	if n > most {
		s.printf("signal argument '%s' is too large to be a valid signal\n", words[1])
		return false
	}
	return s.signal(syscall.Signal(n))
}

// signal sends the process a signal, as if nobody caught it.
func (s *Session) signal(n syscall.Signal) bool {
	if n > 0 {
		s.flushOut()
		resetSignal(n)
		if err := syscall.Kill(os.Getpid(), n); err == nil && fatal(n) {
			select {} // it comes
		}
	}
	return true
}

func (s *Session) abort(*command, []string) bool { return s.signal(syscall.SIGABRT) }
