package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
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

// onSignals calls handle with each signal that asks to stop, until it returns
// false: the next one finds the default action again and ends the program at once.
// The function returned gives the signals back.
func onSignals(handle func(sig syscall.Signal) (more bool)) (done func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals()...)
	// A closed pipe is an error of the write to it, not the end of the machine.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			select {
			case sig := <-signals:
				if !handle(sig.(syscall.Signal)) {
					signal.Stop(signals)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		signal.Stop(signals)
		signal.Reset(syscall.SIGPIPE)
	}
}

// onSignal calls stop with the first signal that asks to stop, as onSignals does.
func onSignal(stop func(signalError)) (done func()) {
	return onSignals(func(sig syscall.Signal) bool {
		stop(signalError{sig})
		return false
	})
}

// onContinue calls handle at each SIGCONT, on a goroutine.
func onContinue(handle func()) (done func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCONT)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			select {
			case <-signals:
				handle()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		signal.Stop(signals)
	}
}

// powerSwitch is the front of the machine's case.
type powerSwitch struct {
	press   func() (heard bool) // the power button
	stop    func(error)         // pulls the plug
	timeout time.Duration       // that the guest has after the button
	say     func(string)        // tells the user
}

// watch has signals operate the switch. The function returned ends that.
func (p powerSwitch) watch() (done func()) {
	pressed := make(chan struct{})
	over := make(chan struct{})
	var once sync.Once
	signals := onSignals(func(sig syscall.Signal) (more bool) {
		select {
		case <-pressed:
		default:
			if sig == syscall.SIGTERM && p.press() {
				p.say(fmt.Sprintf("asked the guest to shut down; it has %v, or until the next signal", p.timeout))
				close(pressed)
				time.AfterFunc(p.timeout, func() {
					select {
					case <-over:
					default:
						p.stop(signalError{sig})
					}
				})
				return true
			}
		}
		p.stop(signalError{sig})
		return false
	})
	return func() {
		signals()
		once.Do(func() { close(over) })
	}
}
