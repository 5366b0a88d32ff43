package block

import "github.com/govmm/govmm/qcow2"

// Mapper is what a Device is besides that knows where its bytes are. All
// devices of this package are one.
type Mapper interface {
	qcow2.Mapper
	// Allocated reports whether the byte at off has storage, anywhere in the
	// chain, and how many of the n bytes from there on are alike: from 1 to n,
	// not necessarily as many as there are.
	Allocated(off, n int64) (allocated bool, length int64, err error)
}

// Resizer is what a Device is besides whose capacity can change.
type Resizer interface {
	// Resize changes the capacity to size bytes, a multiple of 512. What is
	// added reads as zeroes, what is cut is gone.
	Resize(size int64) error
}

// Preallocator is what a Resizer is besides that can provide the storage of
// what is added.
type Preallocator interface {
	// ResizeWith is Resize with options.
	ResizeWith(size int64, o qcow2.ResizeOptions) error
}

// ResizeBytes changes the capacity of a disk to size bytes, rounded up to whole sectors: of a raw
// disk, the file ends at size itself.
func ResizeBytes(d Preallocator, size int64, o qcow2.ResizeOptions) error {
	if r, ok := d.(*raw); ok {
		return r.resizeBytes(size, o)
	}
	return d.ResizeWith((size+sectorSize-1)&^(sectorSize-1), o)
}

// Files returns the files of a device and of the backing files under it, from
// the top, by the names that they were opened with. The index is the Depth of
// an extent. A device without a file has an empty name.
func Files(d Device) []string { return files(d, (*qcow2.Image).File) }

// DataFiles returns the files that Host of an extent is in, as Files does: external data files
// in place of the images that have them.
func DataFiles(d Device) []string { return files(d, (*qcow2.Image).Data) }

// files is Files with what holds an image.
func files(d Device, of func(*qcow2.Image) qcow2.File) []string {
	var list []string
	for next := qcow2.Backing(d); next != nil; {
		switch x := next.(type) {
		case *qcow2.Image:
			name := ""
			if f, ok := of(x).(interface{ Path() string }); ok {
				name = f.Path()
			}
			list = append(list, name)
			next = x.Backing()
		case *raw:
			return append(list, x.f.Path())
		case *compressing:
			next = x.Image
		case *wholeClusters:
			next = x.Image
		case *remote:
			return append(list, x.Path())
		case *part:
			if x.filter {
				return append(list, files(x.d, of)...)
			}
			return append(list, Files(x.d)[0])
		default:
			return append(list, "")
		}
	}
	return list
}

var (
	_ Mapper  = (*qcow2.Image)(nil)
	_ Mapper  = (*raw)(nil)
	_ Mapper  = (*null)(nil)
	_ Resizer = (*qcow2.Image)(nil)
	_ Resizer = (*raw)(nil)

	_ Preallocator = (*qcow2.Image)(nil)
	_ Preallocator = (*raw)(nil)
	_ Preallocator = (*encrypted)(nil)
)
