//go:build race

package luks

const raceDetector = true
