//go:build !race

package distributed

const raceDetector = false
