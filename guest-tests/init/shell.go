package main

import (
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// consolePort is the terminal behind /dev/console. A shell needs the terminal
// itself: /dev/console cannot be a controlling terminal, and without one there
// is neither job control nor Ctrl-C.
const consolePort = "/dev/ttyS0"

// shell gives the console to a person until they leave the shell.
func shell() error {
	tty, err := os.OpenFile(consolePort, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	if err := os.MkdirAll(os.Getenv("HOME"), 0o700); err != nil {
		return err
	}
	fmt.Fprintf(tty, "\nA shell in the guest. Disks: %v. Leave it with exit: the guest powers off.\n", disks())
	cmd := exec.Command("/usr/bin/busybox", "ash", "-l")
	cmd.Dir = os.Getenv("HOME")
	cmd.Env = append(os.Environ(), `PS1=guest:\w# `)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	// How the shell ended is the business of whoever typed into it.
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return err
	}
	return nil
}
