// Package raid models what a RAID controller keeps its books about: physical
// drives, arrays of them, and the volumes (virtual drives) that lie on arrays,
// with their states, sequence numbers, sizes, names and cache policies.
//
// A [Set] owns all of it. It is the only source of truth: a controller answers
// every question of its management interface from one [View], so that no two
// answers can disagree. What follows from something else is computed, not kept:
// a volume's state follows from its drives' states.
//
// A [Volume] is a [scsi.Medium], and so is the [Drive] below it. Volumes of RAID
// level 0 on a single drive exist; other shapes are refused by name. Drives and
// volumes come and go while others are at work: what leaves, finishes the I/O
// that it has begun and takes no more.
//
// # Concurrency
//
// Everything may be used from any goroutine. [Set.Volume] and [Set.Drive], and
// all I/O, take no lock. Changes are made one at a time, and reported to the
// Set's observer in their order.
package raid
