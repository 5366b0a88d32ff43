package qcow2

// Event is a point that an image passes in its work: Options.Event is told of it
// right before the I/O that it names. Names and meaning are those of QEMU's
// blkdebug driver; metadata is written by commits here, so that its events come
// with a flush or when much has collected.
//
// Some of QEMU's events stand for what this package does not do, or does in one
// with something else: they have a name, and never come.
type Event uint8

// The events, in QEMU's order.
const (
	EventL1Update            Event = iota // changed L1 entries are written
	EventL1GrowAllocTable                 // a longer L1 table gets its place
	EventL1GrowWriteTable                 // a longer L1 table is written
	EventL1GrowActivateTable              // the header switches to it
	EventL2Load                           // a piece of an L2 table is read
	EventL2Update                         // changed L2 entries are written
	EventL2UpdateCompressed               // a compressed cluster is entered in an L2 table
	EventL2AllocCowRead                   // an L2 table that a snapshot shares is read to be copied
	EventL2AllocWrite                     // a new L2 table is written
	EventReadAio                          // guest data is read from the image
	EventReadBackingAio                   // guest data is read from the backing file
	EventReadCompressed                   // a compressed cluster is read
	EventWriteAio                         // guest data is written
	EventWriteCompressed                  // a compressed cluster is written
	EventVmstateLoad                      // machine state is read
	EventVmstateSave                      // machine state is written
	EventCowRead                          // the rest of a cluster is read to be copied
	EventCowWrite                         // it is written, together with guest data
	EventReftableLoad                     // the refcount table is read
	EventReftableGrow                     // a longer refcount table gets its place
	EventReftableUpdate                   // changed entries of the refcount table are written
	EventRefblockLoad                     // a piece of a refcount block is read
	EventRefblockUpdate
	EventRefblockUpdatePart       // changed refcounts are written
	EventRefblockAlloc            // the refcount blocks of clusters that are taken are looked up, or get their place
	EventRefblockAllocHookup      // the refcount table refers to a new block
	EventRefblockAllocWrite       // new refcount blocks are written
	EventRefblockAllocWriteBlocks // those for a longer refcount table are
	EventRefblockAllocWriteTable  // a longer refcount table is written
	EventRefblockAllocSwitchTable // the header switches to it
	EventClusterAlloc             // clusters are taken
	EventClusterAllocBytes        // room for compressed data is taken
	EventClusterFree              // clusters lose a reference
	EventFlushToOs                // a flush begins
	EventFlushToDisk              // what was written is made durable
	EventPwritevRmwHead
	EventPwritevRmwAfterHead
	EventPwritevRmwTail
	EventPwritevRmwAfterTail
	EventPwritev
	EventPwritevZero
	EventPwritevDone
	EventEmptyImagePrepare  // an image that was committed is emptied
	EventL1ShrinkWriteTable // a shorter L1 table is written
	EventL1ShrinkFreeL2Clusters
	EventCorWrite
	EventClusterAllocSpace
	EventNone // before anything else

	eventCount
)

// Events is the number of events.
const Events = int(eventCount)

// String is the name that QEMU has for the event.
func (e Event) String() string {
	if int(e) < Events {
		return eventNames[e]
	}
	return "unknown"
}

// ParseEvent returns the event of a name.
func ParseEvent(name string) (e Event, ok bool) {
	for i, s := range eventNames {
		if s == name {
			return Event(i), true
		}
	}
	return 0, false
}

// eventNames are constant.
var eventNames = [Events]string{
	"l1_update",
	"l1_grow_alloc_table",
	"l1_grow_write_table",
	"l1_grow_activate_table",
	"l2_load",
	"l2_update",
	"l2_update_compressed",
	"l2_alloc_cow_read",
	"l2_alloc_write",
	"read_aio",
	"read_backing_aio",
	"read_compressed",
	"write_aio",
	"write_compressed",
	"vmstate_load",
	"vmstate_save",
	"cow_read",
	"cow_write",
	"reftable_load",
	"reftable_grow",
	"reftable_update",
	"refblock_load",
	"refblock_update",
	"refblock_update_part",
	"refblock_alloc",
	"refblock_alloc_hookup",
	"refblock_alloc_write",
	"refblock_alloc_write_blocks",
	"refblock_alloc_write_table",
	"refblock_alloc_switch_table",
	"cluster_alloc",
	"cluster_alloc_bytes",
	"cluster_free",
	"flush_to_os",
	"flush_to_disk",
	"pwritev_rmw_head",
	"pwritev_rmw_after_head",
	"pwritev_rmw_tail",
	"pwritev_rmw_after_tail",
	"pwritev",
	"pwritev_zero",
	"pwritev_done",
	"empty_image_prepare",
	"l1_shrink_write_table",
	"l1_shrink_free_l2_clusters",
	"cor_write",
	"cluster_alloc_space",
	"none",
}

// at says that the image is about to do what e names.
func (im *Image) at(e Event) {
	if im.event != nil {
		im.event(e)
	}
}

// The steps of a commit, and what each has to write.

func (im *Image) announceEarly(b *batch) {
	if im.event == nil {
		return
	}
	for _, step := range []struct {
		has bool
		e   Event
	}{
		{b.refPages > 0, EventRefblockUpdatePart},
		{b.refTable.moved || len(b.refTable.sectors) > 0, EventRefblockAllocWrite},
		{b.refTable.moved, EventRefblockAllocWriteBlocks},
		{b.refTable.moved, EventRefblockAllocHookup},
		{b.refTable.moved, EventRefblockAllocWriteTable},
		{b.l1.moved && len(b.fresh) > 0, EventL1Update},
		{b.l1.moved, EventL1GrowWriteTable},
		{len(b.fresh) > 0, EventL2AllocWrite},
	} {
		if step.has {
			im.event(step.e)
		}
	}
}

func (im *Image) announceTable(b *batch) {
	if b.refTable.header {
		im.at(EventRefblockAllocSwitchTable)
	}
	if len(b.refTable.sectors) > 0 && !b.refTable.moved {
		im.at(EventRefblockAllocHookup)
	}
}

func (im *Image) announceLate(b *batch) {
	if len(b.pages) > b.refPages+len(b.fresh) {
		im.at(EventL2Update)
	}
	if b.l1.header {
		im.at(EventL1GrowActivateTable)
	}
	if len(b.l1.sectors) > 0 && !b.l1.moved {
		im.at(EventL1Update)
	}
}
