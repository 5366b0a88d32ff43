package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals ask a machine to stop in good order.
func stopSignals() []os.Signal {
	return []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ sig syscall.Signal }

func (e signalError) Error() string { return fmt.Sprintf("stopped by signal: %v", e.sig) }

// status is the exit status that shells give to a process ended by the signal.
func (e signalError) status() int { return 128 + int(e.sig) }

// onSignal calls stop with the first signal that asks to stop. The second one
// finds the default action again and ends the program at once. The function
// returned gives the signals back.
func onSignal(stop func(signalError)) (done func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopSignals()...)
	// A closed pipe is an error of the write to it, not the end of the machine.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case sig := <-signals:
			signal.Stop(signals)
			stop(signalError{sig.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return func() {
		cancel()
		signal.Stop(signals)
		signal.Reset(syscall.SIGPIPE)
	}
}
