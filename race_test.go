//go:build race

package distributed

// raceDetector says that everything takes ten times as long.
const raceDetector = true
