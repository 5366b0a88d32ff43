package guesttests

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// record is a line of the kernel's log.
type record struct {
	level int // 0 emergency ... 4 warning, 5 notice, 6 info, 7 debug
	text  string
}

// interesting are the messages, as an extended regular expression, that tests
// look at: those of level warning and worse, and what the disk's drivers say.
// The whole log is five times as long, and the serial port takes its time.
const interesting = `^<[0-4]>|megaraid_sas|scsi|sd [0-9]|`

// kernelLog reads what is interesting of the guest's kernel log.
func (g *guest) kernelLog() []record {
	g.Helper()
	var words []string
	for _, w := range unwanted {
		words = append(words, regexp.QuoteMeta(w))
	}
	log, err := parseLog(g.run("sh", "-c", `dmesg -r | grep -E "$0"`, interesting+strings.Join(words, "|")))
	if err != nil {
		g.Fatal(err)
	}
	return log
}

// clearLog forgets what the guest's kernel has said so far.
func (g *guest) clearLog() {
	g.Helper()
	g.sh("dmesg -c > /dev/null") // the boot's log takes the serial port ten seconds
}

var logLine = regexp.MustCompile(`^<(\d+)>\[ *[\d.]+\] (.*)$`)

// parseLog parses the raw form: a priority (the level and eight times the
// facility) and a time before each message, whose further lines have neither.
func parseLog(raw string) ([]record, error) {
	var log []record
	for line := range strings.Lines(raw) {
		line = strings.TrimRight(line, "\n")
		m := logLine.FindStringSubmatch(line)
		if m == nil {
			if len(log) == 0 {
				continue // the buffer starts in the middle of a message
			}
			log[len(log)-1].text += "\n" + line
			continue
		}
		priority, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("priority of %q: %w", line, err)
		}
		// Messages align their columns with tabs.
		log = append(log, record{level: priority & 7, text: strings.Join(strings.Fields(m[2]), " ")})
	}
	return log, nil
}

// harmless are complaints that do not speak against the machine.
var harmless = []string{
	// Linux says so of the real card, too: it refuses to look at the product data
	// of cards with these numbers.
	"[Firmware Bug]: disabling VPD access (can't determine size of non-standard VPD format)",
	// The host was so busy that the guest stood still between two readings.
	"clocksource: Long readout interval, skipping watchdog check",
	"hrtimer: interrupt took",
}

func isHarmless(r record) bool {
	return slices.ContainsFunc(harmless, func(text string) bool { return strings.Contains(r.text, text) })
}

// complaints returns the messages of level warning and worse.
func complaints(log []record) []record {
	return slices.DeleteFunc(slices.Clone(log), func(r record) bool { return r.level > 4 || isHarmless(r) })
}

// trouble is what the kernel says when an error has reached a disk's user or the
// driver is confused.
var trouble = regexp.MustCompile(`I/O error.*|EXT4-fs (error|warning).*|emounting.*|ffline.*|Call Trace.*|BUG.*|nknown command completed.*`)

// confused is what the kernel says when the driver is, or when something hangs.
var confused = regexp.MustCompile(`Call Trace.*|BUG.*|WARNING.*|blocked for more.*|nknown command completed.*`)

func TestParseLog(t *testing.T) {
	log, err := parseLog("torn line\n<6>[    0.000000] Linux  version\t: 6.1\n<4>[   12.345678] Call Trace:\n more\n<30>[    1.5] init: hello\n<4>[  1.0] pci 0000:00:05.0: " + harmless[0] + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []record{{6, "Linux version : 6.1"}, {4, "Call Trace:\n more"}, {6, "init: hello"},
		{4, "pci 0000:00:05.0: " + harmless[0]}}
	if fmt.Sprint(log) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", log, want)
	}
	if bad := complaints(log); len(bad) != 1 || bad[0].level != 4 {
		t.Errorf("complaints: %v", bad)
	}
}
