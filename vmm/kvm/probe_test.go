package kvm

import (
	"testing"
)

func TestProbeClassifiesTheHost(t *testing.T) {
	r := Probe()
	t.Logf("%+v", r)
	switch r.Class {
	case ClassNone:
		if r.Reason == "" {
			t.Error("no KVM, and no word about why")
		}
	case ClassInterpreting:
		if r.CanBoot() {
			t.Error("an interpreting KVM is said to boot an operating system")
		}
	case ClassExecuting:
		if r.Speed == "" {
			t.Error("no speed class")
		}
		if r.Speed != SpeedSlow && r.MInsnPerSecond < 4 {
			t.Errorf("%v with %v M instructions a second", r.Speed, r.MInsnPerSecond)
		}
	default:
		t.Errorf("class %q", r.Class)
	}
}
