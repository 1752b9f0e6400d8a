//go:build !simatomics

package turn

const simSeeds = 300

// preemptWith would make the atomics switch points; that takes the build tag.
func preemptWith(func()) {}
