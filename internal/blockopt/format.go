package blockopt

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/govmm/govmm/internal/block"
)

// format takes the options of a format. Those without which the disk would be another
// go into strong.
func (r *resolver) format(s *Source, at func(string) string, strong map[string]any) error {
	if s.Protocol != "" {
		return nil
	}
	switch s.Spec.Format {
	case block.FormatRaw:
		return r.window(s, at, strong)
	case block.FormatLUKS:
		return r.key(s, at, "key-secret", strong)
	}
	if err := r.key(s, at, "encrypt.key-secret", strong); err != nil {
		return err
	}
	if s.Spec.Format == "" { // whatever it turns out to be
		if err := r.key(s, at, "key-secret", strong); err != nil {
			return err
		}
	}
	if err := r.runtime(s, at); err != nil {
		return err
	}
	if err := r.backing(s, at); err != nil {
		return err
	}
	return r.dataFile(s, at)
}

// window takes the part of a file that is a raw disk.
func (r *resolver) window(s *Source, at func(string) string, strong map[string]any) error {
	w := block.Window{Size: -1}
	for name, to := range map[string]*int64{"offset": &w.Offset, "size": &w.Size} {
		v, spelled, ok := r.rest.take(at(name))
		if !ok {
			continue
		}
		n, err := r.size(name, v)
		if err != nil {
			return err
		}
		*to, strong[name] = n, spelled
	}
	if len(strong) > 0 {
		s.Spec.Window = &w
	}
	return nil
}

// key takes the id of a passphrase.
func (r *resolver) key(s *Source, at func(string) string, name string, strong map[string]any) error {
	id, spelled, ok := r.rest.take(at(name))
	if !ok {
		return nil
	}
	strong[name] = spelled
	if r.objects == nil || r.objects.Locked {
		return nil
	}
	var err error
	s.Spec.Secret, err = r.objects.Secrets.Get(id)
	return err
}

// backing takes what to use in place of the backing file that the image names.
func (r *resolver) backing(s *Source, at func(string) string) error {
	refused := r.objects != nil && r.objects.LeaveBacking
	if v, spelled, ok := r.rest.take(at("backing")); ok {
		null, literal := spelled.(json.RawMessage)
		if literal && string(null) != "null" || v != "" && refused {
			return unknown(s, s.Spec.Format, "backing")
		}
		if v != "" {
			return fmt.Errorf("Could not open backing file: Cannot find device='%s' nor node-name='%s'", v, v)
		}
		if !literal {
			r.warn(`Use of "backing": "" is deprecated; use "backing": null instead`)
		}
		s.Spec.Alone = true
		return nil
	}
	if refused || !r.rest.has(at("backing")) {
		return nil
	}
	// Without a name these are options for the file that the image names.
	const unnamed = "file"
	filename := at("backing.file.filename")
	named := r.rest.Get(filename) != "" || r.rest.Get(at("backing.filename")) != "" || r.rest.Get(at("backing.file")) != "" ||
		strings.HasPrefix(r.rest.Get(at("backing.driver")), "null-")
	if !named {
		r.rest.Set(filename, unnamed)
	}
	below, err := r.below(at("backing"))
	if err != nil {
		return fmt.Errorf("Could not open backing file: %w", err)
	}
	if below.Spec.ReadOnly = true; !named {
		below.Spec.Path = ""
	}
	s.Spec.Backing = &below.Spec
	return nil
}

// dataFile takes the external data file to use in place of the one that the image names.
func (r *resolver) dataFile(s *Source, at func(string) string) error {
	if node, ok := r.rest.takeText(at("data-file")); ok {
		return fmt.Errorf("Cannot find device='%s' nor node-name='%s'", node, node)
	}
	if !r.rest.has(at("data-file")) {
		return nil
	}
	below, err := r.below(at("data-file"))
	if err != nil {
		return err
	}
	switch d := &below.Spec; {
	case !below.Inject && d.Storage == nil && d.Window == nil && (d.Format == "" || d.Format == block.FormatRaw):
		s.Spec.DataFile = d.Path
	case d.Format == "", d.Format == block.FormatRaw, d.Format == block.FormatNull:
		if d.Format == "" {
			d.Format = block.FormatRaw
		}
		s.Spec.Data = d
	default:
		return fmt.Errorf("Unknown driver '%s'", below.Driver())
	}
	return nil
}

// filter takes the options of a driver that stands over the disk under it, and does
// something with what is read or written.
func (r *resolver) filter(branch, driver string) (*Source, error) {
	at := func(name string) string { return join(branch, name) }
	if !r.rest.has(at("file")) {
		return nil, errors.New("A block device must be specified for \"file\"")
	}
	s, err := r.disk(at("file"))
	if err != nil {
		return nil, err
	}
	switch {
	case driver == "copy-on-read":
		s.Spec.CopyOnRead = true
	case s.Protocol != "" || s.Spec.Format != block.FormatQCOW2:
		return nil, fmt.Errorf("Compression is not supported for underlying format: %s", cmp.Or(s.Driver(), block.FormatQCOW2))
	default:
		s.Spec.Compress = true
	}
	s.Protocol, s.Name = driver, ""
	s.Full = map[string]any{"driver": driver, "file": s.options}
	s.options = s.Full
	if err := r.generic(s, at); err != nil {
		return nil, err
	}
	for _, name := range r.rest.Names() {
		if branch == "" || strings.HasPrefix(name, branch+".") {
			return nil, fmt.Errorf("Block format '%s' does not support the option '%s'", driver, within(branch, name))
		}
	}
	return s, nil
}
