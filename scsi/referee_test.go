package scsi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// decode lets a tool of sg3-utils, which knows the standards from elsewhere,
// explain bytes of ours. The tool reads them from a file.
func decode(t *testing.T, data []byte, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s is not there to check against (package sg3-utils)", tool)
	}
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "FILE", file)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// wantWords checks that each of the words is in what the tool said, with any
// space between the parts of one.
func wantWords(t *testing.T, out string, words ...string) {
	t.Helper()
	text := strings.Join(strings.Fields(out), " ")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, out)
		}
	}
}

func TestInquiryAgainstReferee(t *testing.T) {
	u, _ := newUnit(t, nil)
	got := make([]byte, 96)
	wantGood(t, run(u, []byte{byte(OpInquiry), 0, 0, 0, 96, 0}, got), 96)
	wantWords(t, decode(t, got, "sg_inq", "--raw", "--inhex=FILE", "-d"),
		"PQual=0", "PDT=0", "RMB=0", "version=0x05", "CmdQue=1", "Peripheral device type: disk",
		"Vendor identification: GOVMM", "Product identification: Virtual Drive", "Product revision level: 1.00",
		"SAM-3 (no version claimed)", "SPC-3 (no version claimed)", "SBC-3 (no version claimed)")
}

func TestPagesAgainstReferee(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.Limits = Limits{MaxTransfer: 256, OptimalTransfer: 128, OptimalGranularity: 64,
			MaxUnmap: 1000, MaxUnmapDescriptors: 5, UnmapGranularity: 128, MaxWriteSame: 2000}
	})
	for page, words := range map[byte][]string{
		0x00: {"[sv]", "[sn]", "[di]", "[bl]", "[bdc]", "[lbpv]"},
		0x80: {"Unit serial number: 0123456789"},
		0x83: {"designator type: NAA, code set: Binary 0x600605b00102030405060708090a0b0c", "vendor id: GOVMM", "vendor specific: Virtual Drive 0123456789"},
		0x86: {"UASK_SUP=0", "SIMPSUP=1", "V_SUP=1", "Maximum supported sense data length=34"},
		0xB0: {"Write same non-zero (WSNZ): 1", "Maximum compare and write length: 128 blocks", "Maximum transfer length: 256 blocks",
			"Optimal transfer length: 128 blocks", "Optimal transfer length granularity: 64 blocks",
			"Maximum unmap LBA count: 1000", "Maximum unmap block descriptor count: 5",
			"Optimal unmap granularity: 128 blocks", "Unmap granularity alignment valid: true",
			"Maximum write same length: 0x7d0 blocks"},
		0xB1: {"Non-rotating medium (e.g. solid state)"},
		0xB2: {"Unmap command supported (LBPU): 1", "(LBPWS): 1", "(LBPWS10): 1", "(LBPRZ): 1", "Provisioning type: 2"},
	} {
		got := make([]byte, 255)
		c := run(u, []byte{byte(OpInquiry), 1, page, 0, 255, 0}, got)
		wantWords(t, decode(t, got[:c.Transferred], "sg_vpd", "--raw", "--inhex=FILE"), words...)
	}
}

func TestSenseAgainstReferee(t *testing.T) {
	for _, c := range []struct {
		sense Sense
		words []string
	}{
		{invalidField(1, 7), []string{"Sense key: Illegal Request", "Invalid field in cdb",
			"Error in Command: byte 1 bit 7"}},
		{invalidParameter(16), []string{"Invalid field in parameter list", "Error in Data parameters: byte 16"}},
		{Sense{Key: KeyMediumError, Code: ASCUnrecoveredReadError, HasInfo: true, Info: 4660},
			[]string{"Sense key: Medium Error", "Unrecovered read error", "1234"}},
		{Sense{Key: KeyDataProtect, Code: ASCSpaceAllocationFailed},
			[]string{"Sense key: Data Protect", "Space allocation failed write protect"}},
		{Sense{Key: KeyUnitAttention, Code: ASCCapacityDataHasChanged},
			[]string{"Sense key: Unit Attention", "Capacity data has changed"}},
	} {
		var b [SenseSize]byte
		c.sense.fixed(&b)
		wantWords(t, decode(t, b[:], "sg_decode_sense", "--binary=FILE"), append(c.words, "Fixed format")...)
		wantWords(t, decode(t, c.sense.appendDescriptor(nil), "sg_decode_sense", "--binary=FILE"),
			append(c.words, "Descriptor format")...)
	}
}

// The texts of additional sense codes are those of the standard.
func TestAdditionalSenseAgainstReferee(t *testing.T) {
	for _, n := range ascNames {
		var b [SenseSize]byte
		Sense{Key: KeyIllegalRequest, Code: n.code}.fixed(&b)
		out := strings.ToUpper(decode(t, b[:], "sg_decode_sense", "--binary=FILE"))
		// Some have a note in parentheses that is not part of the text.
		if !strings.Contains(strings.ReplaceAll(out, "  ", " "), n.name) {
			t.Errorf("%v is not in\n%s", n.code, out)
		}
	}
}

// The names of commands are those of the standard.
func TestCommandNamesAgainstReferee(t *testing.T) {
	for _, r := range blockCommands().rows {
		args := []string{"--cdb"}
		for _, b := range r.usage {
			args = append(args, fmt.Sprintf("%x", b))
		}
		out := decode(t, nil, "sg_decode_sense", args...)
		if got := strings.ToUpper(strings.TrimSpace(out)); got != r.name {
			t.Errorf("%s is called %s", r.name, got)
		}
	}
}

// hexText is b as the tools read it that do not take binary files.
func hexText(b []byte) []byte { return fmt.Appendf(nil, "% x\n", b) }
