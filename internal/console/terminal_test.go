package console

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays the guard, and a program that holds a terminal and
// leaves in the way that its second argument says.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "test-guard":
		if err := Guard(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) == 3 && os.Args[1] == "test-program":
		os.Exit(program(os.Args[2]))
	}
	os.Exit(m.Run())
}

func program(wayOut string) int {
	t, err := Open(os.Stdin, "test-guard")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("raw")
	os.Stdin.Read(make([]byte, 1))
	switch wayOut {
	case "close":
		t.Close()
	case "panic":
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			panic("in a goroutine")
		}()
		<-gone
		select {}
	case "kill":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "kill group":
		unix.Kill(0, unix.SIGKILL)
	case "hangup":
		unix.Kill(0, unix.SIGHUP)
	}
	return 0
}

// openPTY gives both ends of a new pseudo-terminal.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func modes(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

func TestTerminalIsRestored(t *testing.T) {
	for _, wayOut := range []string{"close", "panic", "kill", "kill group", "hangup"} {
		t.Run(wayOut, func(t *testing.T) {
			master, slave := openPTY(t)
			before := modes(t, slave)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe, "test-program", wayOut)
			cmd.Stdin = slave
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "raw\n" {
				t.Fatalf("program said %q, %v", line, err)
			}
			raw := modes(t, slave)
			if raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || raw.Iflag&unix.ICRNL != 0 {
				t.Errorf("terminal is not raw: lflag %#x, iflag %#x", raw.Lflag, raw.Iflag)
			}
			if raw.Oflag&unix.OPOST == 0 {
				t.Error("output processing is off")
			}
			master.Write([]byte("g"))
			cmd.Wait()
			// The guard works beside the dying program, and after it.
			deadline := time.Now().Add(5 * time.Minute)
			for modes(t, slave) != before && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if after := modes(t, slave); after != before {
				t.Errorf("modes after: %+v, before: %+v", after, before)
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	_, slave := openPTY(t)
	before := modes(t, slave)
	term, err := Open(slave, "test-guard")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := term.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := modes(t, slave); after != before {
		t.Errorf("modes after: %+v, before: %+v", after, before)
	}
}

func TestOpenWithoutTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsTerminal(r) {
		t.Error("a pipe counts as a terminal")
	}
	if _, err := Open(r, "test-guard"); err == nil || !strings.Contains(err.Error(), "terminal") {
		t.Errorf("opening a pipe: %v", err)
	}
}

func TestKeysPassRaw(t *testing.T) {
	master, slave := openPTY(t)
	term, err := Open(slave, "test-guard")
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	quit := make(chan struct{})
	r := &Reader{Source: slave, Do: func(c Command) {
		if c == Quit {
			close(quit)
		}
	}}
	go master.Write([]byte("\x03\r\x01\x01\x01x"))
	got := make([]byte, 3)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != "\x03\r\x01" {
		t.Errorf("guest got %q", got)
	}
	go r.Read(got) // the command may come in a read of its own
	<-quit
}
