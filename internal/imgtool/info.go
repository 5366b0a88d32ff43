package imgtool

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/qcow2/luks"
)

var infoCommand = command{
	name: "info", synopsis: "[-f FMT] [--output=OFMT] [--backing-chain] [-U] FILE",
	about: "say what is known of an image",
	flags: []flag{
		{'f', "format", "FMT", "format of the image"}, flagOutput, flagShare, flagObject, flagImageOpts,
		{0, "backing-chain", "", "the backing files as well"},
	},
	run: runInfo,
}

// imageInfo is what info prints of one image.
type imageInfo struct {
	file    string
	format  string
	size    int64
	actual  int64 // -1 if not known
	null    bool  // stored nowhere, or elsewhere
	cluster int64 // size of a cluster of the image that a raw disk is in; else 0
	image   *qcow2.Info
	crypt   bool
	luks    *luks.Header // of a LUKS disk
	backing string       // full name
}

func runInfo(t *Tool, a *arguments) error {
	name, err := a.oneImage()
	if err != nil {
		return err
	}
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	var chain []*imageInfo
	format, seen, imageOpts := a.get("format", ""), map[string]bool{}, a.has("image-opts")
	for {
		if seen[name] {
			return fmt.Errorf("Backing file '%s' creates an infinite loop.", name)
		}
		seen[name] = true
		s, err := t.locate(name, imageOpts, openOptions{format: format, noBacking: true, locked: true, share: a.has("force-share")})
		if err != nil {
			return err
		}
		i, err := t.describe(s)
		if err != nil {
			return err
		}
		chain = append(chain, i)
		if !a.has("backing-chain") || i.backing == "" {
			break
		}
		name, format, imageOpts = i.backing, i.image.BackingFormat, false
	}
	if asJSON {
		list := []any{}
		for _, i := range chain {
			list = append(list, i.dict())
		}
		if a.has("backing-chain") {
			t.printf("%s\n", marshal(list))
		} else {
			t.printf("%s\n", marshal(list[0]))
		}
		return nil
	}
	for n, i := range chain {
		if n > 0 {
			t.printf("\n")
		}
		t.printf("%s", i.text())
	}
	return nil
}

// describe opens an image and looks at it.
func (t *Tool) describe(s source) (*imageInfo, error) {
	i := &imageInfo{file: s.fileName(), format: s.opts.Driver(), actual: -1}
	if s.spec.Format == block.FormatLUKS {
		return t.describeLUKS(s, i)
	}
	if s.spec.Format == block.FormatQCOW2 && !s.spec.Compress {
		f, err := s.spec.OpenStorage()
		if err != nil {
			return nil, openError(s.name, err)
		}
		im, err := qcow2.Open(f, qcow2.Options{ReadOnly: true, NoBacking: true, NoDataFile: true, NoSecret: true,
			StaleBitmaps: func(version int) { t.StaleBitmaps(s.name, version) }})
		if err != nil {
			return nil, errors.Join(openError(s.name, err), f.Close())
		}
		defer im.Close()
		if err := s.spec.CheckImage(im); err != nil {
			return nil, openError(s.name, err)
		}
		if _, err := im.Bitmaps(); err != nil {
			return nil, openError(s.name, err)
		}
		info := im.Info()
		i.image, i.size, i.crypt = &info, info.Size, info.Encryption != nil
		i.allocated(s)
		i.backing = backingPath(s.spec.Path, info.BackingFile)
		return i, nil
	}
	d, err := t.openSource(s, openOptions{})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	i.size = d.Size()
	if below, _ := block.Below(d); below != d {
		if im, ok := below.(*qcow2.Image); ok {
			i.cluster = im.Info().ClusterSize
		}
	}
	if below := s.spec.Storage; s.spec.Format == block.FormatNull || below != nil && below.Format == block.FormatNull {
		i.actual, i.null = 0, true
	} else if below := s.spec.Storage; below != nil && below.Remote != nil {
		i.null = true
	} else {
		i.allocated(s)
	}
	return i, nil
}

// allocated takes the storage of a file on the host. Under injected faults it is not
// known.
func (i *imageInfo) allocated(s source) {
	if s.opts.Inject {
		return
	}
	f, err := openHostFile(s.spec.Path, false, true)
	if err != nil {
		return
	}
	defer f.Close()
	if n, err := f.Allocated(); err == nil {
		i.actual = n
	}
}

// backingPath is a backing file's name as seen from here: relative ones are
// relative to the image.
func backingPath(image, backing string) string {
	plain := strings.TrimPrefix(backing, "file:")
	if backing == "" || filepath.IsAbs(plain) || blockopt.HasProtocol(plain) || !strings.Contains(image, "/") {
		return backing
	}
	return image[:strings.LastIndex(image, "/")+1] + plain
}

func (i *imageInfo) dict() dict {
	d := dict{"virtual-size": i.size, "filename": i.file, "format": i.format}
	if !i.null {
		d["dirty-flag"] = false
	}
	if i.actual >= 0 {
		d["actual-size"] = i.actual
	}
	if i.crypt {
		d["encrypted"] = true
	}
	q := i.image
	if q == nil {
		if i.cluster != 0 {
			d["cluster-size"] = i.cluster
		}
		if i.luks != nil {
			d["format-specific"] = dict{"type": "luks", "data": luksDict(i.luks, 0)}
		}
		return d
	}
	d["cluster-size"] = q.ClusterSize
	d["dirty-flag"] = q.Dirty
	if q.BackingFile != "" {
		d["backing-filename"] = q.BackingFile
		d["full-backing-filename"] = i.backing
		if q.BackingFormat != "" {
			d["backing-filename-format"] = q.BackingFormat
		}
	}
	if len(q.Snapshots) > 0 {
		list := []any{}
		for _, s := range q.Snapshots {
			list = append(list, snapshotDict(s))
		}
		d["snapshots"] = list
	}
	d["format-specific"] = dict{"type": "qcow2", "data": specifics(q)}
	return d
}

// specifics are the properties that only qcow2 images have.
func specifics(q *qcow2.Info) dict {
	if q.Version < 3 {
		d := dict{"compat": "0.10", "compression-type": "zlib", "refcount-bits": q.RefcountBits}
		addEncryption(d, q)
		return d
	}
	d := dict{
		"compat": "1.1", "compression-type": q.Compression.String(), "lazy-refcounts": q.LazyRefcounts,
		"refcount-bits": q.RefcountBits, "corrupt": q.Corrupt, "extended-l2": q.ExtendedL2,
	}
	if q.HasDataFile {
		if q.DataFile != "" {
			d["data-file"] = q.DataFile
		}
		d["data-file-raw"] = q.RawData
	}
	addEncryption(d, q)
	if len(q.Bitmaps) > 0 {
		list := []any{}
		for _, b := range q.Bitmaps {
			flags := []any{}
			if b.InUse {
				flags = append(flags, "in-use")
			}
			if b.Enabled {
				flags = append(flags, "auto")
			}
			list = append(list, dict{"name": b.Name, "granularity": b.Granularity, "flags": flags})
		}
		d["bitmaps"] = list
	}
	return d
}

func addEncryption(d dict, q *qcow2.Info) {
	switch e := q.Encryption; {
	case e == nil:
	case e.LUKS != nil:
		l := luksDict(e.LUKS, 0)
		l["format"] = "luks"
		d["encrypt"] = l
	default:
		d["encrypt"] = dict{"format": e.Method}
	}
}

func (i *imageInfo) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "image: %s\nfile format: %s\nvirtual size: %s (%d bytes)\n", i.file, i.format, humanSize(i.size), i.size)
	if i.actual < 0 {
		b.WriteString("disk size: unavailable\n")
	} else {
		fmt.Fprintf(&b, "disk size: %s\n", humanSize(i.actual))
	}
	if i.crypt {
		b.WriteString("encrypted: yes\n")
	}
	q := i.image
	if q == nil {
		if i.cluster != 0 {
			fmt.Fprintf(&b, "cluster_size: %d\n", i.cluster)
		}
		if i.luks != nil {
			b.WriteString("Format specific information:\n")
			tree(&b, luksDict(i.luks, 0), 1)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "cluster_size: %d\n", q.ClusterSize)
	if q.Dirty {
		b.WriteString("cleanly shut down: no\n")
	}
	if q.BackingFile != "" {
		fmt.Fprintf(&b, "backing file: %s", q.BackingFile)
		if i.backing != q.BackingFile {
			fmt.Fprintf(&b, " (actual path: %s)", i.backing)
		}
		b.WriteString("\n")
		if q.BackingFormat != "" {
			fmt.Fprintf(&b, "backing file format: %s\n", q.BackingFormat)
		}
	}
	if len(q.Snapshots) > 0 {
		b.WriteString(snapshotTable(q.Snapshots))
	}
	b.WriteString("Format specific information:\n")
	tree(&b, specifics(q), 1)
	return b.String()
}

func snapshotDict(s qcow2.SnapshotInfo) dict {
	d := dict{
		"id": s.ID, "name": s.Name, "vm-state-size": s.VMStateSize,
		"date-sec": s.Date.Unix(), "date-nsec": s.Date.Nanosecond(),
		"vm-clock-sec": int64(s.VMClock / time.Second), "vm-clock-nsec": int64(s.VMClock % time.Second),
	}
	if s.ICount >= 0 {
		d["icount"] = s.ICount
	}
	return d
}

// snapshotTable is the list of snapshots for people.
func snapshotTable(list []qcow2.SnapshotInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")
	for _, s := range list {
		c := s.VMClock
		clock := fmt.Sprintf("%02d:%02d:%02d.%03d", c/time.Hour, c/time.Minute%60, c/time.Second%60, c/time.Millisecond%1000)
		count := ""
		if s.ICount >= 0 {
			count = fmt.Sprint(s.ICount)
		}
		fmt.Fprintf(&b, "%-9s %-16s %8s%20s%13s%11s\n", s.ID, s.Name, humanSize(s.VMStateSize),
			s.Date.Local().Format("2006-01-02 15:04:05"), clock, count)
	}
	return b.String()
}
