//go:build race

package torch

const raceDetector = true
