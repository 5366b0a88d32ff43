package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// memoryFlag is the value of --memory: a size, and how the host provides it.
type memoryFlag struct {
	byteSize
	ram memory.Options
}

func (*memoryFlag) Type() string { return "size[,hugepages[=2M|1G]][,prealloc][,shared]" }

// poolPages are the sizes of huge pages that a host may have a pool of, and how they
// are written.
var poolPages = map[string]uint64{"2M": 2 << 20, "1G": 1 << 30}

func (f *memoryFlag) String() string {
	text := f.byteSize.String()
	for size, page := range poolPages {
		if f.ram.PoolPage == page {
			text += "," + hugePagesKey + size
		}
	}
	for _, o := range f.options() {
		if *o.on {
			text += "," + o.word
		}
	}
	return text
}

// hugePagesKey comes before the size of the pages of a pool; without it, huge pages are
// the host's business.
const hugePagesKey = "hugepages="

// memoryOption is a word after the size, and what it switches on.
type memoryOption struct {
	word string
	on   *bool
}

func (f *memoryFlag) options() []memoryOption {
	return []memoryOption{{"hugepages", &f.ram.HugePages}, {"prealloc", &f.ram.Prealloc}, {"shared", &f.ram.Shared}}
}

// Set reads a value.
func (f *memoryFlag) Set(text string) error {
	parsed := memoryFlag{byteSize: f.byteSize}
	size, rest, more := strings.Cut(text, ",")
	if err := parsed.byteSize.Set(size); err != nil {
		return err
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, ",")
		known := false
		if size, ok := strings.CutPrefix(word, hugePagesKey); ok {
			if parsed.ram.PoolPage, known = poolPages[size]; !known {
				return fmt.Errorf("%q: huge pages have 2M or 1G", word)
			}
			continue
		}
		for _, o := range parsed.options() {
			if o.word == word {
				*o.on, known = true, true
			}
		}
		if !known {
			return fmt.Errorf("%q: must be hugepages, hugepages=2M, hugepages=1G, prealloc or shared", word)
		}
	}
	*f = parsed
	return nil
}

// cpusFlag is the value of --cpus: a number, and how the processors are put together.
type cpusFlag struct {
	count    int
	topology kvm.Topology // 0 where it was not said
}

func (*cpusFlag) Type() string { return "N[,sockets=N][,cores=N][,threads=N]" }

func (f *cpusFlag) String() string {
	text := strconv.Itoa(f.count)
	for _, level := range f.levels() {
		if *level.n != 0 {
			text += fmt.Sprintf(",%s=%d", level.word, *level.n)
		}
	}
	return text
}

// cpuLevel is a word after the number, and what it is the number of.
type cpuLevel struct {
	word string
	n    *int
}

func (f *cpusFlag) levels() []cpuLevel {
	return []cpuLevel{{"sockets", &f.topology.Sockets}, {"cores", &f.topology.Cores}, {"threads", &f.topology.Threads}}
}

// Set reads a value. What is not said of the topology follows from the rest: threads
// and sockets are one, and cores as many as it takes.
func (f *cpusFlag) Set(text string) error {
	var parsed cpusFlag
	words := strings.Split(text, ",")
	count, err := strconv.Atoi(words[0])
	if err != nil {
		return fmt.Errorf("%q: must be a number", words[0])
	}
	parsed.count = count
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		known := false
		for _, level := range parsed.levels() {
			if level.word == key && *level.n == 0 {
				*level.n, known = n, true
			}
		}
		if !known || err != nil || n < 1 {
			return fmt.Errorf("%q: must be sockets=N, cores=N or threads=N, each once", word)
		}
	}
	*f = parsed
	return nil
}

// config is the topology in full; zero if nothing was said of it.
func (f *cpusFlag) config() (kvm.Topology, error) {
	t := f.topology
	if t == (kvm.Topology{}) {
		return t, nil
	}
	t.Sockets, t.Threads = max(t.Sockets, 1), max(t.Threads, 1)
	if t.Cores == 0 {
		t.Cores = max(1, f.count/(t.Sockets*t.Threads))
	}
	if t.CPUs() != f.count {
		return t, fmt.Errorf("--cpus %s: %d sockets of %d cores of %d threads are %d processors", f, t.Sockets, t.Cores, t.Threads, t.CPUs())
	}
	return t, nil
}

// uuidFlag is the value of --uuid.
type uuidFlag struct{ vmm.UUID }

func (*uuidFlag) Type() string { return "UUID" }

// String is what Set takes, or nothing for a machine that has none.
func (f *uuidFlag) String() string {
	if f.UUID == (vmm.UUID{}) {
		return ""
	}
	return f.UUID.String()
}

// Set reads a value.
func (f *uuidFlag) Set(text string) (err error) {
	u, err := vmm.ParseUUID(text)
	if err == nil {
		f.UUID = u
	}
	return err
}
