package scsi

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/iov"
)

// What the suite wants and a Unit has not, and what the suite has wrong.
const (
	oneInitiator = "a unit has one initiator, and takes the suite's second for the first"
	noGrouping   = "a GROUP NUMBER is refused while the grouping function is not there (GROUP_SUP is 0)"
	noTransport  = "it is for the transport to compare its length of the data with that of the CDB"
	unaligned    = "the suite asks for a block that is not the first of its physical block, and wants another"
	eightBits    = "the suite asks for 256 blocks in a field of 8 bits, which is none"
	tooFast      = "SANITIZE is over before the suite looks; see TestConformanceSanitizeReset"
)

// conformanceFailures are the tests of libiscsi's suite that are known to fail,
// and why. Each of them has to fail: one that does not any more leaves the list.
var conformanceFailures = map[string]string{
	"CompareAndWrite.Simple":          eightBits,
	"CompareAndWrite.Miscompare":      eightBits,
	"Prefetch10.Flags":                noGrouping,
	"Prefetch16.Flags":                noGrouping,
	"ProutReserve.AccessEA":           oneInitiator,
	"ProutReserve.AccessWE":           oneInitiator,
	"ProutReserve.AccessEARO":         oneInitiator,
	"ProutReserve.AccessWERO":         oneInitiator,
	"ProutReserve.AccessEAAR":         oneInitiator,
	"ProutReserve.AccessWEAR":         oneInitiator,
	"ProutReserve.OwnershipEA":        oneInitiator,
	"ProutReserve.OwnershipWE":        oneInitiator,
	"ProutReserve.OwnershipEARO":      oneInitiator,
	"ProutReserve.OwnershipWERO":      oneInitiator,
	"ProutReserve.OwnershipEAAR":      oneInitiator,
	"ProutReserve.OwnershipWEAR":      oneInitiator,
	"ProutPreempt.RemoveRegistration": oneInitiator,
	"Reserve6.2Initiators":            oneInitiator,
	"Reserve6.Logout":                 oneInitiator,
	"Reserve6.ITNexusLoss":            oneInitiator,
	"Sanitize.Reservations":           oneInitiator,
	"Sanitize.Reset":                  tooFast,
}

// conformanceSkips are the suites and tests that the suite itself skips, wholly
// or in part, since the unit has not what they are about.
var conformanceSkips = []string{
	"ExtendedCopy", "ReceiveCopyResults", // EXTENDED COPY
	"WriteAtomic16",           // of SBC-4
	"NoMedia", "PreventAllow", // the medium cannot be taken out
	"StartStopUnit.Simple",
	"Sanitize.CryptoErase", "Sanitize.CryptoEraseReserved", "Sanitize.Readonly", "Sanitize.Reservations",
	"WriteSame10.ZeroBlocks", "WriteSame16.ZeroBlocks", // refused, as WSNZ says
	"MultipathIO", // a second path
	"ReadOnly",    // has a test of its own
}

// ofPhysicalBlocks are tests that need several logical blocks in a physical one.
var ofPhysicalBlocks = []string{
	"CompareAndWrite.InvalidDataOutSize",
	"WriteSame10.UnmapUnaligned", "WriteSame10.InvalidDataOutSize",
	"WriteSame16.UnmapUnaligned", "WriteSame16.InvalidDataOutSize",
}

// TestConformance runs libiscsi's conformance suite against a Unit: the parts of it
// that mostly wait against units of their own, at the same time as the rest.
func TestConformance(t *testing.T) {
	t.Parallel()
	var ran atomic.Int64
	t.Cleanup(func() {
		if want := int64(170); !t.Failed() && ran.Load() < want {
			t.Errorf("%d tests were run, want at least %d", ran.Load(), want)
		}
	})
	suites := conformanceSuites(t)
	waiting := []string{"Reserve6", "Sanitize"}
	parts := [][]string{nil, {waiting[0]}, {waiting[1]}}
	for _, s := range suites {
		if !slices.Contains(waiting, s) {
			parts[0] = append(parts[0], s)
		}
	}
	for i, name := range []string{"all but those that wait", waiting[0], waiting[1]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			family := "SCSI." + strings.Join(parts[i], ",SCSI.")
			list := conform(t, conformanceUnit(t, nil), family, conformanceFailures, slices.Concat(conformanceSkips, ofPhysicalBlocks))
			ran.Add(int64(len(list)))
		})
	}
}

// conformanceSuites are the suites of the family of SCSI.
func conformanceSuites(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(conformanceTool(t), "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "SCSI."); ok && !strings.Contains(s, ".") {
			list = append(list, s)
		}
	}
	return list
}

func conformanceTool(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("iscsi-test-cu")
	if err != nil {
		t.Skip("iscsi-test-cu is not there to check against (package libiscsi-bin)")
	}
	return tool
}

// TestConformanceGeometries runs the parts of it that have to do with blocks
// against units of other geometries.
func TestConformanceGeometries(t *testing.T) {
	t.Parallel()
	var suites []string
	for _, s := range []string{"CompareAndWrite", "GetLBAStatus", "Inquiry", "Prefetch16", "ReadCapacity*", "Unmap", "WriteSame16"} {
		suites = append(suites, "SCSI."+s)
	}
	for _, c := range []struct {
		name              string
		logical, physical uint32
		failures          map[string]string
		skips             []string
	}{
		{"512e", 512, 4096, map[string]string{
			"GetLBAStatus.UnmapSingle":           unaligned,
			"CompareAndWrite.InvalidDataOutSize": noTransport,
			"WriteSame16.InvalidDataOutSize":     noTransport,
		}, nil},
		{"4096", 4096, 4096, nil, ofPhysicalBlocks},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := conformanceUnit(t, func(config *UnitConfig) {
				config.BlockSize, config.PhysicalBlockSize = c.logical, c.physical
			})
			failures := map[string]string{"Prefetch16.Flags": noGrouping,
				"CompareAndWrite.Simple": eightBits, "CompareAndWrite.Miscompare": eightBits}
			maps.Copy(failures, c.failures)
			conform(t, u, strings.Join(suites, ","), failures, slices.Concat(conformanceSkips, c.skips))
		})
	}
	t.Run("read-only", func(t *testing.T) {
		conform(t, conformanceUnit(t, func(c *UnitConfig) { c.ReadOnly = true }), "SCSI.ReadOnly", nil, nil)
	})
}

// TestConformanceSanitizeReset runs a test of the suite that takes more than a
// minute, on a medium that is slow enough for it.
func TestConformanceSanitizeReset(t *testing.T) {
	if os.Getenv("GOVMM_TEST_LONG") == "" {
		t.Skip("takes more than a minute; set GOVMM_TEST_LONG")
	}
	t.Parallel()
	u := conformanceUnit(t, func(c *UnitConfig) { c.Medium = slowMedium{c.Medium, 10 * time.Millisecond} })
	conform(t, u, "SCSI.Sanitize.Reset", nil, nil)
}

// slowMedium is a Medium whose writes take time.
type slowMedium struct {
	Medium
	delay time.Duration
}

func (m slowMedium) WriteV(bufs [][]byte, off int64) error {
	time.Sleep(m.delay)
	return m.Medium.WriteV(bufs, off)
}

// conformanceSize is the size of a unit in bytes: enough for the suite's longest
// transfers, and little to erase again and again under the race detector.
const conformanceSize = 8 << 20

// conformanceUnit is a drive that has all that a Unit can have. The
// figures of its limits are such that the suite can go beyond them.
func conformanceUnit(t *testing.T, change func(*UnitConfig)) *Unit {
	t.Helper()
	u, _ := newUnit(t, func(c *UnitConfig, m *memory) {
		m.data = make([]byte, conformanceSize)
		c.Medium = thinMedium{m, make([]byte, len(m.data)/512)}
		c.PowerOnAttention = true
		c.SaveMode = func(ModeParameters) error { return nil }
		c.SaveReservation = func(*ReservationState) error { return nil }
		c.Limits = Limits{MaxUnmap: 1 << 20, MaxCompareAndWrite: 128}
		if change != nil {
			change(c)
		}
	})
	return u
}

// thinMedium is a Medium that knows which of its blocks have storage, and loses
// nothing.
type thinMedium struct {
	*memory
	mapped []byte // a byte a block of 512 bytes: 1 is mapped; guarded by memory.mu
}

func (thinMedium) Flush() error { return nil }

func (m thinMedium) WriteV(bufs [][]byte, off int64) error {
	m.mark(off, int64(iov.Len(bufs)), 1)
	return m.memory.WriteV(bufs, off)
}

func (m thinMedium) WriteZeroes(off, n int64, unmap bool) error {
	if unmap {
		m.mark(off, n, 0)
	} else {
		m.mark(off, n, 1)
	}
	return m.memory.WriteZeroes(off, n, unmap)
}

func (m thinMedium) Discard(off, n int64) error {
	m.mark(off, n, 0)
	return m.memory.Discard(off, n)
}

func (m thinMedium) mark(off, n int64, as byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.mapped[off/512:(off+n)/512], bytes.Repeat([]byte{as}, int(n/512)))
}

func (m thinMedium) Allocated(off, n int64) (bool, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	blocks := m.mapped[off/512 : (off+n)/512]
	alike := bytes.IndexByte(blocks, 1-blocks[0])
	if alike < 0 {
		alike = len(blocks)
	}
	return blocks[0] == 1, int64(alike) * 512, nil
}

// conform runs a family of the suite's tests, or one of them, and checks that
// those fail that are known to, and that only those are skipped that are said to.
func conform(t *testing.T, u *Unit, family string, failures map[string]string, skips []string) (ran []string) {
	t.Helper()
	suite := conformanceTool(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, suite, "--dataloss", "--allow-sanitize", "--test", family, newISCSITarget(t, u).url()).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("the suite did not come to an end:\n%s", out)
	}
	results := conformanceResults(string(out))
	if len(results) == 0 {
		t.Fatalf("no test was run: %v\n%s", err, out)
	}
	for _, name := range slices.Sorted(maps.Keys(results)) {
		r := results[name]
		reason, mayFail := failures[name]
		suite, _, _ := strings.Cut(name, ".")
		maySkip := slices.Contains(skips, name) || slices.Contains(skips, suite)
		switch {
		case r.failed && !mayFail:
			t.Errorf("%s failed:\n%s", name, r.said)
		case !r.failed && mayFail:
			t.Errorf("%s is known to fail (%s), and does not", name, reason)
		case r.skipped && !maySkip:
			t.Errorf("%s was skipped:\n%s", name, r.said)
		}
		if !r.skipped {
			ran = append(ran, name)
		}
	}
	return ran
}

// conformanceResult is what became of a test of the suite.
type conformanceResult struct {
	failed, skipped bool
	said            string
}

// conformanceResults reads the output of the suite: lines "Suite: NAME" and
// "  Test: NAME ...", after which "passed" or "FAILED" follows at once or in a line
// further down.
func conformanceResults(out string) map[string]conformanceResult {
	results := map[string]conformanceResult{}
	var suite, test string
	for line := range strings.Lines(out) {
		text := strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(text, "Suite: "); ok {
			suite, test = name, ""
			continue
		}
		if name, ok := strings.CutPrefix(text, "Test: "); ok {
			name, text, _ = strings.Cut(name, " ...")
			test = fmt.Sprintf("%s.%s", suite, name)
			results[test] = conformanceResult{}
		}
		if strings.HasPrefix(text, "Run Summary:") {
			break
		}
		if r, ok := results[test]; ok {
			r.failed = r.failed || strings.HasPrefix(text, "FAILED")
			r.skipped = r.skipped || strings.Contains(text, "[SKIPPED]")
			r.said += line
			results[test] = r
		}
	}
	return results
}
