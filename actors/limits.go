package actors

import (
	"fmt"
	"math"

	"github.com/metalloc/metalloc/metal"
)

const (
	// NoLimit as a limit: never in force.
	NoLimit int64 = math.MaxInt64
	// DefaultLimit as a limit: what Open would have set.
	DefaultLimit int64 = math.MinInt64
)

// Policy says what happens when memory would have to be taken above the memory
// limit, after everything reusable has been given back.
type Policy uint8

const (
	// Guide takes it all the same, while the device gives. MLX's behaviour.
	Guide Policy = iota
	// Refuse gives ErrLimitExceeded, naming who holds what.
	Refuse
	// Wait waits until there is room. Not supported yet: Open gives ErrUnsupported.
	Wait
)

func (p Policy) String() string {
	switch p {
	case Guide:
		return "guide"
	case Refuse:
		return "refuse"
	case Wait:
		return "wait"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// share is part of n, in permille: float arithmetic would round large sizes.
func share(n, permille int64) int64 { return n/1000*permille + n%1000*permille/1000 }

// defaultMemoryLimit is MLX's: min(1.5 × working set, 0.95 × memory)
// (ml-explore/mlx: mlx/backend/metal/allocator.cpp).
func defaultMemoryLimit(i metal.Info) int64 {
	return min(share(i.WorkingSet, 1500), share(i.Memory, 950))
}

// reclaimThreshold is from where on growing first takes caches back: MLX's
// min(0.95 × working set, limit).
func reclaimThreshold(i metal.Info, memoryLimit int64) int64 {
	return min(share(i.WorkingSet, 950), memoryLimit)
}

// resolve turns a limit as given into bytes.
func resolve(what string, n, deflt int64) (int64, error) {
	switch {
	case n == DefaultLimit:
		return deflt, nil
	case n < 0:
		return 0, fmt.Errorf("%s %d: %w: expected bytes ≥ 0, NoLimit or DefaultLimit", what, n, ErrInvalidSize)
	}
	return n, nil
}

// ResolveMemoryLimit gives the bytes that a memory limit stands for on a device.
func ResolveMemoryLimit(n int64, i metal.Info) int64 {
	if n == DefaultLimit {
		return defaultMemoryLimit(i)
	}
	return n
}
