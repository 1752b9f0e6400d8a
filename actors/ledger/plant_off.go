//go:build !simatomics

package ledger

// Faults for the tests to find are planted only with the build tag.

func (r *Row) version() uint64 { return versionOne }

func plantedSingleCollect() bool { return false }

func plantedOffByOne() uint64 { return 0 }
