package imgtool

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

var createCommand = command{
	name: "create", synopsis: "[-q] [-f FMT] [-b BACKING_FILE [-F BACKING_FMT]] [-u] [-o OPTIONS] FILE [SIZE]",
	about: "create an image",
	flags: []flag{
		{'f', "", "FMT", "format (raw)"}, {'b', "", "BACKING_FILE", "the disk begins as that of this image"},
		{'F', "", "BACKING_FMT", "format of the backing file"}, {'u', "", "", "don't open the backing file"},
		{'o', "", "OPTIONS", "options of the format; help lists them"}, flagQuiet, flagObject,
	},
	run: runCreate,
}

func runCreate(t *Tool, a *arguments) error {
	format := a.get("f", t.DefaultFormat)
	known := createOptionsOf(format)
	lists := a.all("o")
	if wantsHelp(lists) {
		if known == nil {
			return errNoCreation(format)
		}
		t.printf("%s", optionsHelp(format, len(a.operands) > 0))
		return nil
	}
	if len(a.operands) == 0 {
		return usage("Expecting image file name")
	}
	if len(a.operands) > 2 {
		return usage("Unexpected argument: %s", a.operands[2])
	}
	file := a.operands[0]
	n := newImage{format: format, file: file, size: unsaid, unsafe: a.has("u"), quiet: a.has("q")}
	if len(a.operands) == 2 {
		size, err := a.imageSize(a.operands[1], "image size")
		if err != nil {
			return err
		}
		n.size = size
	}
	if known == nil {
		return fmt.Errorf("%s: %w", file, errNoCreation(format))
	}
	err := creatable(file)
	if err == nil {
		n.values, err = readOptions(merge(known, fileOptions), lists, a.warn)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if _, given := n.values["size"]; given && n.size != unsaid {
		return fmt.Errorf("%s: The image size must be specified only once", file)
	}
	if err := n.setBacking(a, "b"); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return t.create(&n)
}

// setBacking takes the flags that name a backing file, by the letter that the
// command has for it, and the format.
func (n *newImage) setBacking(a *arguments, letter string) error {
	for _, o := range []struct{ flag, name, what string }{
		{letter, "backing_file", "Backing file"}, {"F", "backing_fmt", "Backing file format"},
	} {
		if !a.has(o.flag) {
			continue
		}
		if n.format != block.FormatQCOW2 {
			return fmt.Errorf("%s not supported for file format '%s'", o.what, n.format)
		}
		n.values[o.name] = a.get(o.flag, "")
	}
	return nil
}

// unsaid is the size of an image that was not given one.
const unsaid = -1

// newImage is an image that is to be created.
type newImage struct {
	format string
	file   string
	size   int64 // unsaid, or below 0: beyond what a disk may have
	values formatValues
	unsafe bool // the backing file is not looked at
	quiet  bool // the line about it is not printed
}

// create makes the image, and prints the line that says so before it is tried.
func (t *Tool) create(n *newImage) error {
	named := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", n.file, err)
	}
	if n.size == unsaid {
		n.size = n.values.size("size", unsaid)
	}
	if err := t.lookAtBacking(n); err != nil {
		return named(err)
	}
	if n.size == unsaid {
		return named(errors.New("Image creation needs a size parameter"))
	}
	if !n.quiet {
		t.printf("%s\n", n.describe())
		flush(t.Stdout) // as qemu-img, before what may fail
	}
	switch n.format {
	case block.FormatQCOW2:
		return named(t.createQCOW2(n))
	case block.FormatLUKS:
		return named(t.createLUKS(n))
	}
	return named(t.createRaw(n))
}

// lookAtBacking checks the backing file, and takes the size from it if there is
// no other.
func (t *Tool) lookAtBacking(n *newImage) error {
	name := n.values["backing_file"]
	if _, given := n.values["backing_file"]; given && name == "" {
		return errors.New("Expected backing file name, got empty string")
	}
	if name == "" {
		return nil
	}
	format, named := n.values["backing_fmt"]
	if named && !n.unsafe && !isDriver(format) {
		return fmt.Errorf("Unknown driver '%s'\nCould not open backing image.", format)
	}
	if name == n.file {
		return errors.New("Error: Trying to create an image with the same filename as the backing file")
	}
	if n.unsafe {
		if format == "" {
			return errors.New("Backing file specified without backing format")
		}
		return nil
	}
	full := backingPath(n.file, name)
	s, err := t.locate(full, false, openOptions{format: format, share: true}) // only its size is asked for
	if err == nil {
		var size int64
		if size, err = t.diskSize(s); n.size == unsaid {
			n.size = size
		}
	}
	if err != nil {
		return fmt.Errorf("%s\nCould not open backing image.", trimOpen(err, full))
	}
	if format == "" {
		return &hintError{errors.New("Backing file specified without backing format"), fmt.Sprintf("Detected format of %s.", s.spec.Format)}
	}
	return nil
}

// describe is the line about an image that is created.
func (n *newImage) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Formatting '%s', fmt=%s", n.file, n.format)
	add := func(key, value string) { fmt.Fprintf(&b, " %s=%s", key, strings.ReplaceAll(value, ",", ",,")) }
	given := func(keys ...string) {
		for _, key := range keys {
			if value, ok := n.values[key]; ok {
				add(key, value)
			}
		}
	}
	size := fmt.Sprint(n.size)
	switch n.format {
	case block.FormatQCOW2:
		given("encryption", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg",
			"encrypt.cipher-mode", "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "encrypt.iter-time")
		add("cluster_size", fmt.Sprint(n.values.size("cluster_size", qcow2.DefaultClusterSize)))
		add("extended_l2", n.values.or("extended_l2", "off"))
		given("preallocation")
		add("compression_type", n.values.or("compression_type", "zlib"))
		add("size", size)
		given("compat", "backing_file", "backing_fmt", "data_file", "data_file_raw")
		add("lazy_refcounts", n.values.or("lazy_refcounts", "off"))
		add("refcount_bits", n.values.or("refcount_bits", "16"))
		given("nocow")
		n.describeHint(add)
	case block.FormatLUKS:
		add("size", size)
		given("key-secret", "cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg", "hash-alg", "iter-time")
	default:
		add("size", size)
		given("preallocation", "nocow")
		n.describeHint(add)
	}
	return b.String()
}

// describeHint adds the option of the file that is a size.
func (n *newImage) describeHint(add func(key, value string)) {
	if hint := n.values.size("extent_size_hint", -1); hint >= 0 {
		add("extent_size_hint", fmt.Sprint(hint))
	}
}

// makeFile opens the file of a new image for do. A file that was not there does
// not stay behind if that fails.
func makeFile(path string, do func(f qcow2.File) error) error {
	if nbdclient.IsName(path) {
		return overwriteRemote(path, do)
	}
	path = strings.TrimPrefix(path, "file:")
	_, err := os.Lstat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	// Not truncated here: bad options are found before anything is lost.
	f, err := qcow2.OpenFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("Could not create '%s': %s", path, reason(err))
	}
	if err = lock(f, false); err == nil {
		err = do(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil && isNew {
		os.Remove(path)
	}
	return err
}

// overwriteRemote opens an export, which is there already, for do.
func overwriteRemote(name string, do func(f qcow2.File) error) error {
	const refused = "Protocol driver 'nbd' does not support image creation, and opening the image failed: %w"
	target, err := nbdclient.Parse(name)
	if err != nil {
		return fmt.Errorf(refused, err)
	}
	storage := block.Spec{Format: block.FormatNBD, Path: name, Remote: nbdclient.New(target)}
	f, err := (&block.Spec{Path: name, Storage: &storage}).OpenStorage()
	if open := (*block.OpenError)(nil); errors.As(err, &open) {
		return fmt.Errorf(refused, open.Err)
	} else if err != nil {
		return fmt.Errorf(refused, err)
	}
	if err = do(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// diskSize is the size of a disk, which is opened to see that it can be; an encrypted
// one may stay locked, and an external data file closed.
func (t *Tool) diskSize(s source) (int64, error) {
	s.spec.LeaveData = true
	d, err := t.openSource(s, openOptions{})
	switch {
	case err == nil:
		return d.Size(), d.Close()
	case !errors.Is(err, errLocked):
		return 0, err
	}
	i, err := t.describe(s)
	if err != nil {
		return 0, err
	}
	return i.size, nil
}

func (t *Tool) createLUKS(n *newImage) error {
	secret, err := t.secret(n.values["key-secret"], "key-secret")
	if err != nil {
		return err
	}
	p, err := luksParams(n.values, "")
	if err != nil {
		return err
	}
	return makeFile(n.file, func(f qcow2.File) error {
		return block.CreateLUKS(f, n.size, []byte(secret), p)
	})
}

// secret is the value of a secret that an option names.
func (t *Tool) secret(id, option string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("Parameter '%s' is required for cipher", option)
	}
	return t.objects.Secrets.Get(id)
}

var luksHashes = []string{"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"}

// luksNames are the names that options about a LUKS header may have as their values for
// qemu-img, in the order in which it looks. Not all of them can be had.
var luksNames = []struct {
	option string
	names  []string
}{
	{"cipher-alg", []string{"aes-128", "aes-192", "aes-256", "des", "3des", "cast5-128", "serpent-128", "serpent-192", "serpent-256",
		"twofish-128", "twofish-192", "twofish-256"}},
	{"cipher-mode", []string{"ecb", "cbc", "xts", "ctr"}},
	{"ivgen-alg", []string{"plain", "plain64", "essiv"}},
	{"ivgen-hash-alg", luksHashes},
	{"hash-alg", luksHashes},
}

// luksParams are the options about a LUKS header, whose names have a prefix.
func luksParams(v formatValues, prefix string) (luks.Params, error) {
	for _, o := range luksNames {
		if value, ok := v[prefix+o.option]; ok && !slices.Contains(o.names, value) {
			return luks.Params{}, fmt.Errorf("Parameter '%s' does not accept value '%s'", o.option, value)
		}
	}
	p := luks.Params{
		Cipher: v[prefix+"cipher-alg"], Mode: v[prefix+"cipher-mode"],
		IVGen: v[prefix+"ivgen-alg"], IVHash: v[prefix+"ivgen-hash-alg"], Hash: v[prefix+"hash-alg"],
	}
	if ms, ok := v[prefix+"iter-time"]; ok {
		n, err := parseNumber(ms)
		if err != nil {
			return p, fmt.Errorf("Parameter '%siter-time' expects a number", prefix)
		}
		p.IterTime = max(time.Duration(n)*time.Millisecond, time.Nanosecond)
	}
	return p, nil
}

// qcow2Options turns checked options into what the engine takes.
func (n *newImage) options() (qcow2.CreateOptions, error) {
	v := n.values
	o := qcow2.CreateOptions{
		Size: n.size, Version: 3, ClusterSize: v.size("cluster_size", qcow2.DefaultClusterSize),
		RefcountBits: int(v.number("refcount_bits", qcow2.DefaultRefcountBits)), LazyRefcounts: v.on("lazy_refcounts"),
		ExtendedL2:  v.on("extended_l2"),
		BackingFile: v["backing_file"], BackingFormat: v["backing_fmt"],
		DataFile: v["data_file"], DataFileRaw: v.on("data_file_raw"),
	}
	switch c := v.or("compat", "1.1"); c {
	case "0.10", "v2":
		o.Version = 2
	case "1.1", "v3":
	default:
		return o, fmt.Errorf("Parameter 'version' does not accept value '%s'", c)
	}
	if c := o.ClusterSize; c < 512 || c > 2<<20 || c&(c-1) != 0 {
		return o, errors.New("Cluster size must be a power of two between 512 and 2048k")
	}
	if r := o.RefcountBits; r < 1 || r > 64 || r&(r-1) != 0 {
		return o, errors.New("Refcount width must be a power of two and may not exceed 64 bits")
	}
	switch c := v.or("compression_type", "zlib"); c {
	case "zlib":
	case "zstd":
		o.Compression = qcow2.CompressionZstd
	default:
		return o, fmt.Errorf("Parameter 'compression-type' does not accept value '%s'", c)
	}
	p := v.or("preallocation", "off")
	var ok bool
	if o.Preallocation, ok = qcow2.ParsePreallocation(p); !ok {
		return o, fmt.Errorf("Parameter 'preallocation' does not accept value '%s'", p)
	}
	if o.Version < 3 {
		switch {
		case o.LazyRefcounts:
			return o, errors.New("Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)")
		case o.RefcountBits != 16:
			return o, errors.New("Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)")
		case o.DataFile != "":
			return o, errOld("External data files")
		case o.Compression != qcow2.CompressionZlib:
			return o, errOld("Non-zlib compression type")
		}
	}
	switch {
	case v.given("backing_fmt") && !isDriver(o.BackingFormat):
		return o, fmt.Errorf("Parameter 'backing-fmt' does not accept value '%s'", o.BackingFormat)
	case v.given("backing_fmt") && o.BackingFile == "":
		return o, errors.New("Backing format cannot be used without backing file")
	case o.DataFileRaw && o.DataFile == "":
		return o, errors.New("data-file-raw requires data-file")
	case o.Preallocation != qcow2.PreallocateOff && o.BackingFile != "" && !o.ExtendedL2:
		return o, errors.New("Backing file and preallocation can only be used at the same time if extended_l2 is on")
	}
	if o.ExtendedL2 {
		switch {
		case o.Version < 3:
			return o, errOld("Extended L2 entries")
		case o.ClusterSize < 16<<10:
			return o, errors.New("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes")
		}
	}
	return o, nil
}

// errOld refuses what version 2 does not have.
func errOld(what string) error {
	verb := "are"
	if strings.HasSuffix(what, "type") {
		verb = "is"
	}
	return fmt.Errorf("%s %s only supported with compatibility level 1.1 and above (use version=v3 or greater)", what, verb)
}

func (t *Tool) createQCOW2(n *newImage) error {
	for _, name := range []string{"size", "cluster_size"} { // once more, as qemu-img
		blockopt.WarnSize(n.values[name], t.objects.Warn)
	}
	o, err := n.options()
	if err != nil {
		return err
	}
	if err := t.encryption(n, &o); err != nil {
		return err
	}
	if n.size < 0 || n.size > math.MaxInt64-sectorSize {
		return errors.New("Could not resize image: Image size cannot be negative")
	}
	if n.values.given("data_file") {
		if err := creatable(o.DataFile); err != nil {
			return err
		}
		path := strings.TrimPrefix(o.DataFile, "file:") // from the working directory, as it will be opened
		if sameFile(path, n.file) {
			return fmt.Errorf("Data file '%s' is the image itself", o.DataFile)
		}
		return makeFile(path, func(data qcow2.File) error {
			o.Data = data
			return makeFile(n.file, func(f qcow2.File) error { return createError(qcow2.Create(f, o)) })
		})
	}
	return makeFile(n.file, func(f qcow2.File) error { return createError(qcow2.Create(f, o)) })
}

// createError puts errors of the engine into the words of qemu-img.
func createError(err error) error {
	if errors.Is(err, qcow2.ErrFormat) { // what was written is not there, as on /dev/null
		return errors.New("Image is not in qcow2 format")
	}
	if errors.Is(err, qcow2.ErrTooLarge) {
		return errors.New("The image size is too large for file format 'qcow2' (try using a larger cluster size)")
	}
	if errors.Is(err, nbdclient.ErrGrow) {
		return fmt.Errorf("Could not resize image: %w", nbdclient.ErrGrow)
	}
	return err
}

// sameFile reports whether two paths lead to one file.
func sameFile(a, b string) bool {
	ia, err := os.Stat(a)
	if err != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	ib, err := os.Stat(b)
	return err == nil && os.SameFile(ia, ib)
}
