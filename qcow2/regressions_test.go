package qcow2

import (
	"slices"
	"testing"
)

// shippedByOthers are failures that other engines brought to their users, and the
// tests of this package that would show them.
var shippedByOthers = map[string][]string{
	"metadata caches split by queue":                          {"TestConcurrent", "TestSnapshotsUnderLoad", "TestResizeUnderLoad"},
	"the allocator hands out live clusters":                   {"TestOverlap", "TestOverlapOfTables", "TestRandomOperations"},
	"the header's cluster is handed out":                      {"TestOverlap", "TestHostileEntries"},
	"references are published before they are accounted":      {"TestCrash", "TestFailures", "TestCrashCases"},
	"a stale hole is punched into a cluster in use again":     {"TestFreedClusterWaitsForRequests", "TestPackingBesideHole", "TestPackingDuringReclaim"},
	"no space in the middle of a mapping":                     {"TestNoSpace", "TestFailures"},
	"a header rewrite loses a field or a feature":             {"TestHeaderIsKept", "TestEncryptionHeaderSurvives", "TestLazyRefcountsKeepFlag", "TestCompressionKept"},
	"backing data shine through after zeroing or growing":     {"TestGrowthHidesBackingFile", "TestCutDataStaysCut", "TestSubclustersWithQEMU", "TestAmendWithQEMU"},
	"clusters are never given back":                           {"TestShrinkGivesStorageBack", "TestPassDiscard", "TestNoSpace"},
	"snapshots lose what was written before them":             {"TestCrashSnapshots", "TestRandomSnapshots", "TestSnapshotsStayIntact"},
	"chains of backing files without an end":                  {"TestBackingChain"},
	"images of distributions do not open":                     {"TestWeReadQEMUs", "TestRefcountWidths", "TestZstdFrames", "TestSnapshotRecordIsKept"},
	"a dirty bitmap misses a write":                           {"TestDirtyBitsFromManyGoroutines", "TestCrashWithBitmaps"},
	"an overwritten cluster of a compressed neighbour breaks": {"TestPacking", "TestPackingLeavesFreedCluster", "TestCompressedReplaces"},
}

// TestShippedByOthers looks for the tests.
func TestShippedByOthers(t *testing.T) {
	have := testNames(t)
	for failure, tests := range shippedByOthers {
		for _, name := range tests {
			if !slices.Contains(have, name) {
				t.Errorf("%s: there is no test %q", failure, name)
			}
		}
	}
}
