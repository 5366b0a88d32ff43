package imgtool

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/govmm/govmm/internal/bench"
)

var benchCommand = command{
	name: "bench",
	synopsis: "[-c COUNT] [-d DEPTH] [-f FMT] [--flush-interval=N] [-i AIO] [-n] [--no-drain] [-o OFFSET] [--pattern=N] " +
		"[-q] [-s BUFFER_SIZE] [-S STEP_SIZE] [-t CACHE] [-w] [-U] FILE",
	about: "measure how fast an image is",
	flags: []flag{
		{'c', "", "COUNT", "requests (75000)"}, {'d', "", "DEPTH", "of them at a time (64)"}, flagFormat,
		{0, "flush-interval", "N", "flush after so many writes"}, {'i', "", "AIO", "threads, native or io_uring; all are the same here"},
		{'n', "", "", "as -i native"}, {0, "no-drain", "", "let requests go on during a flush"}, {'o', "", "OFFSET", "of the first request"},
		{0, "pattern", "N", "byte to write"}, flagQuiet, {'s', "", "BUFFER_SIZE", "bytes of a request (4096)"},
		{'S', "", "STEP_SIZE", "from one request to the next"}, flagCache, {'w', "", "", "write"}, flagShare, flagObject, flagImageOpts,
	},
	run: runBench,
}

func runBench(t *Tool, a *arguments) (err error) {
	o := bench.Options{Write: a.has("w"), Count: 75000, Depth: 64, BufferSize: 4096, NoDrain: a.has("no-drain")}
	for name, to := range map[string]*int{"c": &o.Count, "d": &o.Depth, "flush-interval": &o.FlushInterval} {
		if !a.has(name) {
			continue
		}
		what := map[string]string{"c": "request count", "d": "queue depth", "flush-interval": "flush interval"}[name]
		if *to, err = strconv.Atoi(a.get(name, "")); err != nil || *to < 0 {
			return fmt.Errorf("Invalid %s specified", what)
		}
	}
	for name, to := range map[string]*int64{"o": &o.Offset, "s": &o.BufferSize, "S": &o.Step} {
		if !a.has(name) {
			continue
		}
		what := map[string]string{"o": "offset", "s": "buffer size", "S": "step_size"}[name]
		if *to, err = a.imageSize(a.get(name, ""), what); err != nil {
			return err
		}
	}
	if o.Step == 0 {
		o.Step = o.BufferSize
	}
	if a.has("pattern") {
		n, err := strconv.ParseUint(a.get("pattern", ""), 0, 8)
		if err != nil {
			return errors.New("Invalid pattern byte specified")
		}
		o.Pattern = byte(n)
	}
	native := a.has("n")
	switch i := a.get("i", "threads"); i {
	case "threads", "io_uring":
	case "native":
		native = true
	default:
		return fmt.Errorf("Invalid aio option: %s", i)
	}
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	cache := a.get("t", "writeback")
	if checkCache(cache, false) != nil {
		return errors.New("Invalid cache mode")
	}
	d, _, err := t.open(name, a, openOptions{format: a.get("f", ""), write: o.Write, cache: cache})
	if err != nil {
		return err
	}
	defer closing(d, &err)
	if native && cache != "none" && cache != "directsync" {
		return fmt.Errorf("Could not open '%s': aio=native was specified, but it requires cache.direct=on, which was not specified.", name)
	}
	t.printf("%s", o.Describe())
	if o.BufferSize == 0 { // requests for nothing take no time
		t.printf("Run completed in %.3f seconds.\n", 0.0)
		return nil
	}
	took, err := bench.Run(d, o)
	if err != nil {
		return fmt.Errorf("Failed request: %s", reason(err))
	}
	t.printf("Run completed in %.3f seconds.\n", took.Seconds())
	return nil
}
