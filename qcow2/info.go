package qcow2

// Info describes an image, as its header has it.
type Info struct {
	Version       int
	Size          int64 // of the disk, bytes
	ClusterSize   int64
	RefcountBits  int
	LazyRefcounts bool
	Compression   Compression
	Dirty         bool // not closed cleanly by its last writer
	Corrupt       bool
	BackingFile   string
	BackingFormat string
	ExtendedL2    bool            // clusters have subclusters
	DataFile      string          // recorded name of the external data file
	HasDataFile   bool            // the guest's data is in an external file
	RawData       bool            // which reads as the disk does
	Encryption    *EncryptionInfo // nil without encryption
	Snapshots     []SnapshotInfo
	Bitmaps       []BitmapInfo // see Image.Bitmaps
}

// Info returns a description of the image.
func (im *Image) Info() Info {
	encryption := im.encryptionInfo()
	im.mu.RLock()
	defer im.mu.RUnlock()
	h := im.hdr
	info := Info{
		Version:       int(h.version),
		Size:          im.Size(),
		ClusterSize:   im.g.clusterSize,
		RefcountBits:  1 << h.refcountOrder,
		LazyRefcounts: h.compatible&compatLazyRefcounts != 0,
		Compression:   h.compression,
		Dirty:         h.incompatible&incompatDirty != 0,
		Corrupt:       h.incompatible&incompatCorrupt != 0,
		BackingFile:   h.backingFile,
		BackingFormat: h.backingFormat(),
		ExtendedL2:    im.g.extended(),
		DataFile:      h.dataFile(),
		HasDataFile:   im.g.dataFile,
		RawData:       im.rawData(),
		Encryption:    encryption,
	}
	info.Bitmaps = im.bitmapInfo()
	for i := range im.snaps {
		info.Snapshots = append(info.Snapshots, im.snaps[i].info())
	}
	return info
}
