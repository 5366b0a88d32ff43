package nbdtool

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/sockettest"
)

// name is what the program is called. Under it, the tests are that program.
const name = "qemu-nbd"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == name {
		t := Tool{Program: os.Args[0], Version: "test", Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr}
		os.Exit(t.Run())
	}
	os.Exit(m.Run())
}

// run runs the program at path as qemu-nbd, and returns its exit status and all that it
// prints.
func run(t *testing.T, path string, args ...string) (status int, printed string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Args[0] = name
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// ours runs the program that is tested.
func ours(t *testing.T, args ...string) (status int, printed string) {
	t.Helper()
	return run(t, "/proc/self/exe", args...)
}

// inside runs the program in this process, and returns what ours does.
func inside(args ...string) (status int, printed string) {
	var out bytes.Buffer
	t := Tool{Program: name, Version: "test", Args: args, Stdout: &out, Stderr: &out}
	status = t.Run()
	return status, out.String()
}

// need skips a test without programs of somebody else's.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (Debian packages qemu-utils, libnbd-bin)", p)
		}
	}
}

// tool runs a program of somebody else's and returns what it printed.
func tool(t *testing.T, program string, args ...string) string {
	t.Helper()
	need(t, program)
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("verification failed")) {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// TestHelpNamesAllOptions prints what manual pages are made of.
func TestHelpNamesAllOptions(t *testing.T) {
	status, printed := inside("--help")
	if status != 0 {
		t.Fatalf("status %d", status)
	}
	for _, o := range Manual() {
		if !strings.Contains(printed, o[0]) || !strings.Contains(printed, o[1]) {
			t.Errorf("no %q", o[0])
		}
	}
	if status, printed := inside("-V"); status != 0 || printed != "qemu-nbd test\n" {
		t.Errorf("status %d, %q", status, printed)
	}
}

// TestEveryOptionIsTaken reads a command line with each option: what is listed is known.
func TestEveryOptionIsTaken(t *testing.T) {
	for _, o := range options {
		taken := ""
		args := []string{"--" + o.long}
		if o.arg != "" {
			args = append(args, "x")
		}
		_, err := parse(name, args, func(n, _ string) error { taken = n; return nil })
		if err != nil || taken != o.long {
			t.Errorf("%s: taken as %q, %v", o.long, taken, err)
		}
	}
}

// TestCommandLineErrorsAreThoseOfQEMU compares messages and exit statuses with those of
// QEMU's tool, for what can't be served.
func TestCommandLineErrorsAreThoseOfQEMU(t *testing.T) {
	need(t, name, "qemu-img")
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
	tool(t, "qemu-img", "create", "-q", "-f", "raw", "r.raw", "1M")
	long := strings.Repeat("x", 5000)
	at := "--socket=" + sockettest.Path(t)
	for _, args := range [][]string{
		{}, {"a", "b"}, {"--nonsense"}, {"-Z"}, {"-p"}, {"--port"}, {"--fork=x"}, {"-P", "1", "a.qcow2"}, {"--partition=1", "a.qcow2"},
		{"-p", "x", "a.qcow2"}, {"-e", "x", "a.qcow2"}, {"-e", "99999999999", "a.qcow2"}, {"-k", "rel", "a.qcow2"},
		{"-k", "/" + strings.Repeat("x", 120), "a.qcow2"}, {"-L", "-k", "/" + strings.Repeat("x", 120)},
		{"-o", "x", "a.qcow2"}, {"-o", "1M", "a.qcow2"}, {"-o", "-1", at, "a.qcow2"}, {"-o", "9000000", at, "a.qcow2"},
		{at, "-f", "foo", "a.qcow2"}, {at, "nofile"}, {at, "-f", "qcow2", "r.raw"}, {at, "-f", "luks", "r.raw"}, {at, "foo:bar"}, {at, ""},
		{"--cache=foo", "a.qcow2"}, {"--cache=none", "--cache=none", "a.qcow2"}, {"-n", "--cache=none", "a.qcow2"},
		{"--aio=foo", "a.qcow2"}, {"--aio=threads", "--aio=threads", "a.qcow2"},
		{"--discard=foo", "a.qcow2"}, {"--discard=on", "--discard=on", "a.qcow2"},
		{"--detect-zeroes=foo", "a.qcow2"}, {"--detect-zeroes=unmap", at, "a.qcow2"},
		{"-l", "snapshot.foo=x", "a.qcow2"}, {"-l", "nosuch", at, "a.qcow2"}, {"-l", "snapshot.name=nosuch", at, "a.qcow2"},
		{"-l", "nosuch", at, "-f", "raw", "r.raw"}, {"-s", "-l", "x", at, "a.qcow2"},
		{"-c", "/dev/nbd0", "-L"}, {"-L", "a.qcow2"}, {"-L", "-k", "rel"}, {"-L", "-o", "1"}, {"-L", "-x", "foo"}, {"-L", "-D", "x"},
		{"-L", "-p", "1"}, {"-L", "-k", sockettest.Path(t)}, {"-L", "--tls-creds", "x"},
		{"-L", "--object", "tls-creds-x509,id=t,dir=/nodir", "--tls-creds", "t"}, {"--object", `{"qom-type":"secret","id":"1s","data":"x"}`, "a.qcow2"},
		{"-L", "-f", "raw"}, {"-L", "-B", "x"}, {"-L", "--fork"}, {"-L", "--cache=none"},
		{"--object", "foo,id=x", "a.qcow2"}, {"--object", "secret,id=x", "a.qcow2"}, {"--object", "secret", "a.qcow2"},
		{"--object", "secret,id=s,data=x", "--tls-creds", "s", at, "a.qcow2"}, {"--tls-creds", "nosuch", at, "a.qcow2"},
		{"--tls-hostname", "foo", "a.qcow2"}, {"--tls-hostname", "foo", "-L"}, {"--tls-authz", "foo", "a.qcow2"},
		{"--object", "tls-creds-x509,id=t,dir=/nodir,endpoint=server", "--tls-creds", "t", "a.qcow2"},
		{"--object", "tls-creds-x509,id=t", "--tls-creds", "t", "a.qcow2"},
		{"--object", "tls-creds-x509,id=t,dir=/nodir,endpoint=foo", "--tls-creds", "t", "a.qcow2"},
		{"-B", "nosuch", at, "a.qcow2"}, {"-B", "nosuch", at, "-f", "raw", "r.raw"}, {"--selinux-label=foo", "a.qcow2"},
		{"--image-opts", "driver=qcow2", at}, {"--image-opts", "-f", "raw", at, "driver=qcow2,file.filename=a.qcow2"},
		{"--image-opts", at, "driver=qcow2,file.filename=a.qcow2,foo=bar"},
		{"-k", "/nodir/s", "a.qcow2"}, {"-T", "foo", "-k", "/nodir/s", "a.qcow2"},
		{"-b", "1.2.3.4", "-p", "10999", "a.qcow2"}, {"--pid-file", "/nodir/x", at, "a.qcow2"}, {"-x", long, at, "a.qcow2"}, {"-D", long, at, "a.qcow2"},
	} {
		wantStatus, want := run(t, theirs, args...)
		if status, printed := inside(args...); status != wantStatus || printed != want {
			t.Errorf("%.200q: status %d, %.300q\nwant status %d, %.300q", args, status, printed, wantStatus, want)
		}
	}
}
