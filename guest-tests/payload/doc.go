// Package payload tests the whole device straight on /dev/kvm: guests of a few
// dozen instructions drive the controller as a driver does, in the machine that
// "govmm run" builds, down to the image file. They take milliseconds and run on
// any KVM, also on one that interprets guest code, where no stock kernel can.
//
// The guests are written with package internal/payload.
package payload
