package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The files of file-load.
const (
	loadFiles    = 100
	loadFileSize = 64 << 10
	loadReadSize = 4096
	loadPause    = 10 * time.Millisecond // between reads, so that they leave time for the rest
)

// fileLoad is the tool "init file-load --dir DIR --dev DEVICE --state DIR": until there is
// a file "stop" in the state directory, it writes files into DIR, one after the other,
// each made durable by fsync, and reads the device at random places with direct I/O all
// the while. In the state directory, which needs no disk, are: "written", with how many
// files were; "sums/NAME", for each file that is there, as sha256sum takes it; "failed"
// with what went wrong; and "ended".
func fileLoad(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("file-load", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "/mnt", "directory for the files")
	device := fs.String("dev", "/dev/sda", "device to read")
	state := fs.String("state", "/tmp/load", "directory for what others want to know")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	l := fileLoader{dir: *dir, device: *device, state: *state}
	reading := make(chan error, 1)
	go func() { reading <- l.read() }()
	err := l.write()
	if readErr := <-reading; err == nil {
		err = readErr
	}
	l.put("ended", "")
	if err != nil {
		fmt.Fprintf(stderr, "file-load: %v\n", err)
		return 1
	}
	return 0
}

type fileLoader struct{ dir, device, state string }

// put writes a file of the state directory as a whole.
func (l *fileLoader) put(name, text string) {
	path := filepath.Join(l.state, name)
	if err := os.WriteFile(path+".part", []byte(text), 0o644); err == nil {
		_ = os.Rename(path+".part", path) // it is in memory, and there is nobody to tell
	}
}

func (l *fileLoader) has(name string) bool {
	_, err := os.Stat(filepath.Join(l.state, name))
	return err == nil
}

// over reports whether the load ends, which it does at the first failure.
func (l *fileLoader) over() bool { return l.has("stop") || l.has("failed") }

func (l *fileLoader) failed(err error) error {
	l.put("failed", err.Error())
	return err
}

func (l *fileLoader) write() error {
	data := make([]byte, loadFileSize)
	for n := 1; !l.over(); n++ {
		random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
		_, _ = random.Read(data) // never fails
		name := fmt.Sprintf("f%d", n%loadFiles)
		sum := filepath.Join("sums", name)
		_ = os.Remove(filepath.Join(l.state, sum)) // it may not be there yet
		if err := writeDurably(filepath.Join(l.dir, name), data); err != nil {
			return l.failed(err)
		}
		l.put(sum, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name))
		l.put("written", strconv.Itoa(n))
	}
	return nil
}

// writeDurably writes a file and returns when it is durable.
func writeDurably(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func (l *fileLoader) read() error {
	f, err := os.OpenFile(l.device, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return l.failed(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return l.failed(err)
	}
	buf, err := pages(loadReadSize)
	if err != nil {
		return l.failed(err)
	}
	for !l.over() {
		if _, err := f.ReadAt(buf, rand.Int64N(size/loadReadSize)*loadReadSize); err != nil {
			return l.failed(err)
		}
		time.Sleep(loadPause)
	}
	return nil
}
