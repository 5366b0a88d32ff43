package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoGuests is wrapped by errors that say why this machine runs no guests.
var ErrNoGuests = errors.New("this machine cannot run guests")

// Accelerator is what "--accel auto" of govmm stands for on this machine.
type Accelerator string

// What govmm doctor answers.
const (
	AccelKVM    Accelerator = "kvm"
	AccelNested Accelerator = "nested"
)

func (a Accelerator) String() string {
	switch a {
	case AccelKVM:
		return "KVM of this host"
	case AccelNested:
		return "KVM of a nested machine, on a processor that QEMU emulates"
	}
	return string(a)
}

// Accelerator asks govmm doctor what guests would run on.
func (v Govmm) Accelerator(ctx context.Context) (Accelerator, error) {
	argv := append([]string{"doctor", "--output", "json"}, v.Nest...)
	// The exit status only repeats what the output says.
	out, err := exec.CommandContext(ctx, v.Path, argv...).Output()
	if len(out) == 0 && err != nil {
		return "", fmt.Errorf("govmm doctor: %w", err)
	}
	var d struct {
		Accel   Accelerator
		Missing []struct{ What string }
	}
	if err := json.Unmarshal(out, &d); err != nil {
		return "", fmt.Errorf("govmm doctor: %w", err)
	}
	if d.Accel == AccelKVM || d.Accel == AccelNested {
		return d.Accel, nil
	}
	var missing []string
	for _, m := range d.Missing {
		missing = append(missing, m.What)
	}
	return "", fmt.Errorf("%w: %s", ErrNoGuests, strings.Join(missing, "; "))
}
