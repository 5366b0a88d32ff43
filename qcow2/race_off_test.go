//go:build !race

package qcow2

const raceDetector = false
