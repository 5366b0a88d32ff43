package guesttests

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/govmm/govmm/guest-tests/agent"
)

// diskKind is what a disk is to the commands that it has.
type diskKind uint8

const (
	volumeDisk diskKind = 1 << iota
	sasDisk
	sataDisk
	anyDisk = volumeDisk | sasDisk | sataDisk
)

// opcodeRow is how a command is sent in a guest, and what comes of it.
type opcodeRow struct {
	op, action int // action is noAction where the opcode is all
	on         diskKind
	// command is for the shell, and has the functions of opcodeScript. $D is the disk.
	command string
	status  int    // of its end: 0, or one of "EXIT STATUS" in sg3_utils(8)
	want    string // in its output
}

const (
	noAction = -1
	// anyStatus is for commands whose tools end with one or the other in different
	// versions.
	anyStatus = -1
)

// opcodeRows have a row, or more, for every command that a disk says it has, in an order
// in which they can be sent: what is read was written before. Commands with data use the
// block of 0x4000 and their own operation code.
var opcodeRows = []opcodeRow{
	{0x12, noAction, anyDisk, "sg_inq $D", 0, "Vendor identification"},
	{0x12, noAction, anyDisk, "sg_vpd --page=sv $D", 0, "Device identification"},
	{0x12, noAction, volumeDisk | sasDisk, "sg_vpd --page=bl $D", 0, "Maximum compare and write length"},
	{0x12, noAction, sataDisk, "sg_vpd --page=ai $D", 0, "SAT Vendor identification"},
	{0x00, noAction, anyDisk, "sg_turs $D", 0, ""},
	{0x03, noAction, anyDisk, "sg_raw -r 18 $D 03 00 00 00 12 00", 0, "70 00 00 00 00 00 00 0a"},
	{0xa0, noAction, anyDisk, "sg_luns $D", 0, "0000000000000000"},
	{0xa3, 0x0c, anyDisk, "sg_opcodes --opcode=0x28 $D", 0, "28 18 ff ff ff ff 00 ff ff"},
	{0xa3, 0x0d, anyDisk, "sg_opcodes --tmf $D", 0, "Logical unit reset"},
	{0x25, noAction, anyDisk, "sg_readcap $D", 0, "Logical block length=512"},
	{0x9e, 0x10, anyDisk, "sg_readcap --long $D", 0, "lbpme=1"},
	{0x1a, noAction, anyDisk, "sg_modes --six --page=8 $D", 0, "Caching"},
	{0x5a, noAction, anyDisk, "sg_modes --page=0x0a $D", 0, "Control"},
	{0x5a, noAction, anyDisk, "sg_modes --all $D", 0, "Informational exceptions control"},
	{0x15, noAction, anyDisk, `sg_raw -r 16 -o /tmp/page $D 1a 08 0a 00 10 00
		(printf '\0\0\0\0\012'; tail -c +6 /tmp/page) > /tmp/list; sg_raw -s 16 -i /tmp/list $D 15 10 00 00 10 00`, 0, "Good"},
	{0x55, noAction, anyDisk, `(printf '\0\0\0\0\0\0\0\0\012'; tail -c +6 /tmp/page) > /tmp/list; sg_raw -s 20 -i /tmp/list $D 55 10 00 00 00 00 00 00 14 00`, 0, "Good"},
	{0x4d, noAction, anyDisk, "sg_logs --page=2 $D", 0, "Write error counter"},
	{0x4d, noAction, volumeDisk | sasDisk, "sg_logs --all $D", 0, "Start-stop cycle"},
	{0x4c, noAction, anyDisk, "sg_logs --reset --page=3 $D", 0, ""},
	{0x1d, noAction, anyDisk, "sg_senddiag --test $D", 0, ""},
	{0x1c, noAction, anyDisk, "sg_raw -r 8 $D 1c 01 00 00 08 00", 0, "00 00 00"},
	{0x1e, noAction, anyDisk, "sg_prevent --prevent=1 $D && sg_prevent --allow $D", 0, ""},

	{0x0a, noAction, anyDisk, "put 0a 00 40 0a 01 00", 0, "Good"},
	{0x08, noAction, anyDisk, "get /tmp/ones 08 00 40 0a 01 00", 0, ""},
	{0x2a, noAction, anyDisk, "put 2a 00 00 00 40 2a 00 00 01 00", 0, "Good"},
	{0x28, noAction, anyDisk, "get /tmp/ones 28 00 00 00 40 2a 00 00 01 00", 0, ""},
	{0xaa, noAction, anyDisk, "put aa 00 00 00 40 aa 00 00 00 01 00 00", 0, "Good"},
	{0xa8, noAction, anyDisk, "get /tmp/ones a8 00 00 00 40 aa 00 00 00 01 00 00", 0, ""},
	{0x8a, noAction, anyDisk, "put 8a 08 00 00 00 00 00 00 40 8a 00 00 00 01 00 00", 0, "Good"}, // with FUA
	{0x88, noAction, anyDisk, "get /tmp/ones 88 00 00 00 00 00 00 00 40 8a 00 00 00 01 00 00", 0, ""},
	{0x88, noAction, anyDisk, "get /tmp/ones 88 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00", 22, "Logical block address out of range"},
	{0x2e, noAction, anyDisk, "sg_write_verify --in=/tmp/ones --ilen=512 --lba=0x402e $D && is 2e /tmp/ones", 0, ""},
	{0xae, noAction, anyDisk, "put ae 02 00 00 40 ae 00 00 00 01 00 00 && is ae /tmp/ones", 0, "Good"},
	{0x8e, noAction, anyDisk, "sg_write_verify --16 --in=/tmp/ones --ilen=512 --lba=0x408e $D && is 8e /tmp/ones", 0, ""},
	{0x2f, noAction, anyDisk, "sg_verify --lba=0x402e --count=1 --ndo=512 --in=/tmp/ones $D", 0, ""},
	{0x2f, noAction, anyDisk, "sg_verify --lba=0x402e --count=1 --ndo=512 --in=/tmp/threes $D", 14, ""},
	{0xaf, noAction, anyDisk, "put af 02 00 00 40 ae 00 00 00 01 00 00", 0, "Good"},
	{0x8f, noAction, anyDisk, "sg_verify --16 --lba=0x408e --count=1 --ndo=512 --in=/tmp/ones $D", 0, ""},
	{0x34, noAction, anyDisk, "sg_raw $D 34 00 00 00 40 00 00 00 08 00", anyStatus, "Condition Met"},
	{0x90, noAction, anyDisk, "sg_raw $D 90 00 00 00 00 00 00 00 40 00 00 00 00 08 00 00", anyStatus, "Condition Met"},
	{0x35, noAction, anyDisk, "sg_sync $D", 0, ""}, // ended by the driver itself for a volume
	{0x91, noAction, anyDisk, "sg_sync --16 $D", 0, ""},
	{0x89, noAction, anyDisk, `put 2a 00 00 00 40 89 00 00 01 00; cat /tmp/ones /tmp/threes > /tmp/both
		sg_compare_and_write --in=/tmp/both --lba=0x4089 --num=1 --xferlen=1024 $D && is 89 /tmp/threes`, 0, ""},
	{0x89, noAction, anyDisk, "sg_compare_and_write --in=/tmp/both --lba=0x4089 --num=1 --xferlen=1024 $D", 14, "iscompare"},
	{0x8b, noAction, anyDisk, `put 2a 00 00 00 40 8b 00 00 01 00
		sg_raw -s 512 -i /tmp/twos $D 8b 00 00 00 00 00 00 00 40 8b 00 00 00 01 00 00 && is 8b /tmp/threes`, 0, "Good"},
	{0x41, noAction, anyDisk, "sg_write_same --10 --in=/tmp/ones --lba=0x4041 --num=8 $D && is 48 /tmp/ones", 0, ""},
	{0x93, noAction, anyDisk, "sg_write_same --16 --in=/tmp/ones --lba=0x4100 --num=2048 $D && sg_get_lba_status --lba=0x4100 $D", 0, "mapped"},
	{0x42, noAction, anyDisk, "sg_unmap --lba=0x4100 --num=2048 --force $D", 0, ""},
	{0x9e, 0x12, anyDisk, "sg_get_lba_status --lba=0x4180 $D", 0, "deallocated"}, // what lies in whole clusters
	{0x37, noAction, anyDisk, "sg_reassign --grown $D", 0, "Elements in grown defect list: 0"},
	{0xb7, noAction, anyDisk, "sg_raw -r 8 $D b7 0d 00 00 00 00 00 00 00 08 00 00", 0, "00 0d 00"},

	{0x16, noAction, anyDisk, "sg_raw $D 16 00 00 00 00 00", 0, "Good"},
	{0x17, noAction, anyDisk, "sg_raw $D 17 00 00 00 00 00", 0, "Good"},
	{0x56, noAction, anyDisk, "sg_raw $D 56 00 00 00 00 00 00 00 00 00", 0, "Good"},
	{0x57, noAction, anyDisk, "sg_raw $D 57 00 00 00 00 00 00 00 00 00", 0, "Good"},
	{0x5f, 0x06, anyDisk, "sg_persist --out --register-ignore --param-sark=a1 $D", 0, ""},
	{0x5f, 0x00, anyDisk, "sg_persist --out --register --param-rk=a1 --param-sark=abc123 $D", 0, ""},
	{0x5f, 0x00, anyDisk, "sg_persist --out --register --param-rk=a1 --param-sark=abc124 $D", 24, ""},
	{0x5e, 0x00, anyDisk, "sg_persist --in --read-keys $D", 0, "0xabc123"},
	{0x5f, 0x01, anyDisk, "sg_persist --out --reserve --param-rk=abc123 --prout-type=1 $D", 0, ""},
	{0x5e, 0x01, anyDisk, "sg_persist --in --read-reservation $D", 0, "Write Exclusive"},
	{0x5e, 0x02, anyDisk, "sg_persist --in --report-capabilities $D", 0, "Compatible Reservation Handling"},
	{0x5e, 0x03, anyDisk, "sg_persist --in --read-full-status $D", 0, "SAS address"},
	// The reservation moves to an initiator that is not there, and is taken from it.
	{0x5f, 0x07, anyDisk, "move", 0, "Good"},
	{0x5f, 0x04, anyDisk, "sg_persist --out --preempt --param-rk=abc123 --param-sark=def456 --prout-type=3 $D; sg_persist --in --read-reservation $D", 0, "Exclusive Access"},
	{0x5f, 0x05, anyDisk, "move; sg_persist --out --preempt-abort --param-rk=abc123 --param-sark=def456 --prout-type=1 $D; sg_persist --in --read-reservation $D", 0, "Write Exclusive"},
	{0x5f, 0x02, anyDisk, "sg_persist --out --release --param-rk=abc123 --prout-type=1 $D; sg_persist --in --read-reservation $D", 0, "NO reservation held"},
	{0x5f, 0x03, anyDisk, "sg_persist --out --clear --param-rk=abc123 $D; sg_persist --in --read-keys $D", 0, "NO registered reservation keys"},

	{0xa1, noAction, sataDisk, "sg_sat_identify --len=12 $D", 0, "474f 564d 4d20 5341 5441"},
	{0x85, noAction, sataDisk, "sg_sat_identify --len=16 $D", 0, "474f 564d 4d20 5341 5441"},

	{0x1b, noAction, anyDisk, "sg_start --stop $D; sg_turs $D || echo stopped; sg_start --start $D && sg_turs $D", 0, "stopped"},
	// All of the disk is overwritten in the background: the end comes, and every byte is
	// the pattern's.
	{0x48, 0x01, anyDisk, "sg_sanitize --overwrite --pattern=/tmp/threes --ipl=512 --quick --early $D; until sg_turs $D > /dev/null 2>&1; do sleep 0.1; done; left '\\003'", 0, "left 0."},
	{0x48, 0x02, anyDisk, "sg_sanitize --block --quick --wait $D; left '\\000'", 0, "left 0."},
	{0x48, 0x1f, anyDisk, "sg_sanitize --fail --quick --early $D", 0, ""},
}

// opcodeScript has the functions that rows use: put CDB... sends a block of ones, get
// FILE CDB... reads a block that must be as the file, is XX FILE says that block 0x40XX
// is as the file, move is REGISTER AND MOVE, left BYTE tells how many bytes of the disk
// are others. Then it sends the rows, and prints those that come out otherwise.
const opcodeScript = `D=$1; kind=$2
fill() { tr '\000' "$1" < /dev/zero | head -c 512 > $2; }
fill '\001' /tmp/ones; fill '\002' /tmp/twos; fill '\003' /tmp/threes
put() { sg_raw -s 512 -i /tmp/ones $D "$@"; }
get() { file=$1; shift; sg_raw -r 512 -o /tmp/back $D "$@" && cmp /tmp/back $file; }
is() { get $2 28 00 00 00 40 $1 00 00 01 00; }
# Keys, flags and port, length of the TransportID, which is a SAS initiator's.
move() {
	printf '\0\0\0\0\0\253\301\043\0\0\0\0\0\336\364\126\0\0\0\001\0\0\0\030\006\0\0\0\120\0\0\0\0\0\0\001\0\0\0\0\0\0\0\0\0\0\0\0' > /tmp/move
	sg_raw -s 48 -i /tmp/move $D 5f 07 00 00 00 00 00 00 30 00
}
left() { echo left $(dd if=$D bs=1M iflag=direct status=noAction | tr -d "$1" | wc -c).; }
try() {
	[ $(($2 & kind)) -ne 0 ] || return 0
	s=0; o=$(eval "$3" 2>&1) || s=$?
	[ $4 -lt 0 ] && s=$4
	case "$s $o" in
	$4\ *"$5"*) ;;
	*) echo "row $1 on $D: status $s, want $4 and '$5': $o" ;;
	esac
}
`

// opcodes sends every command that the disks say they have, by the tools of sg3-utils,
// and compares what comes of it. What they say is what the table has.
func opcodes(g *guest, n diskNames) {
	// A volume as small as the drives, for what takes as long as a disk is large.
	small := image(g.T, "24M")
	before := strings.Fields(g.run("/init", "await-disks", "3"))
	g.ctl("disk", "add", "small", "path="+small)
	volume := ""
	for _, name := range strings.Fields(g.run("/init", "await-disks", "4")) {
		if !slices.Contains(before, name) {
			volume = "/dev/" + name
		}
	}
	var script strings.Builder
	script.WriteString(opcodeScript)
	for i, r := range opcodeRows {
		fmt.Fprintf(&script, "try %d %d %s %d %s\n", i, r.on, quoted(r.command), r.status, quoted(r.want))
	}
	client, err := g.machine.Agent(g.ctx)
	if err != nil {
		g.Fatal(err)
	}
	put := agent.Command{Argv: []string{"sh", "-c", "cat > /tmp/opcodes"}, Stdin: []byte(script.String())}
	if res, err := client.Run(g.ctx, put); err != nil || res.Exit != 0 {
		g.Fatalf("status %d, %v", res.Exit, err)
	}
	for _, disk := range []struct {
		name string
		kind diskKind
	}{{volume, volumeDisk}, {n.sas, sasDisk}, {n.sata, sataDisk}} {
		has := map[string]bool{}
		for _, r := range opcodeRows {
			if r.on&disk.kind != 0 {
				has[opcodeName(r.op, r.action)] = true
			}
		}
		says := opcodesOf(g, disk.name)
		for name := range has {
			if !says[name] {
				g.Errorf("%s does not list %s", disk.name, name)
			}
		}
		for name := range says {
			if !has[name] {
				g.Errorf("%s lists %s, which nothing tries", disk.name, name)
			}
		}
		if disk.kind == sasDisk && !long() {
			continue // the SATA drive has all commands of this one, and goes the same way
		}
		if failed := g.patiently(fmt.Sprintf("sh /tmp/opcodes %s %d", disk.name, disk.kind)); failed != "" {
			g.Errorf("%s", failed)
		}
	}
	g.ctl("disk", "remove", "small")
	g.run("/init", "await-disks", "3")
	checkImage(g.T, small)
}

// opcodeLine is a line of sg_opcodes: opcode, service action if there is one, length,
// RWCDLP and CDLP, name.
var opcodeLine = regexp.MustCompile(`(?m)^ *([0-9a-f]{2}) +(?:([0-9a-f]{1,4}) +)?\d+ +\d+,\d+ +\S`)

// opcodesOf is what sg_opcodes lists of a disk, by opcodeName.
func opcodesOf(g *guest, disk string) map[string]bool {
	g.Helper()
	out := g.run("sg_opcodes", "--no-inquiry", disk)
	list := make(map[string]bool)
	for _, m := range opcodeLine.FindAllStringSubmatch(out, -1) {
		op, err := strconv.ParseUint(m[1], 16, 8)
		action := uint64(0)
		if err == nil && m[2] != "" {
			action, err = strconv.ParseUint(m[2], 16, 8)
		}
		if err != nil {
			g.Fatalf("%q: %v", m[0], err)
		}
		if m[2] == "" {
			list[opcodeName(int(op), noAction)] = true
		} else {
			list[opcodeName(int(op), int(action))] = true
		}
	}
	if len(list) == 0 {
		g.Fatalf("sg_opcodes %s: no opcode in\n%s", disk, out)
	}
	return list
}

func opcodeName(op, action int) string {
	if action == noAction {
		return fmt.Sprintf("opcode %02x", op)
	}
	return fmt.Sprintf("opcode %02x, service action %02x", op, action)
}

// quoted is a text as one word of the shell's.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
