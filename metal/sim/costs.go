package sim

import (
	"reflect"
	"time"
)

// Costs says how long a device's calls take. Reserving address space and
// everything about marks is free.
type Costs struct {
	Create      Curve         // per handle, by its size
	Release     Curve         // per handle, by its size
	MapHandle   time.Duration // per handle mapped
	SetAccess   time.Duration // per contiguous run, that is per Map
	UnmapHandle time.Duration // per handle unmapped
	Alloc, Free Curve         // per segment, by its size
	Wire        time.Duration // per call
	Unwire      time.Duration // per call
}

// Curve is a cost by size: straight lines between its points, which ascend by
// Size, and level before the first and after the last. An empty one is 0.
type Curve []Point

// Point of a Curve; Size in bytes.
type Point struct {
	Size int64
	Cost time.Duration
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// H100 is what an NVIDIA H100 takes, measured from C++ with driver 580: its
// virtual memory calls for ranges of 2, 20 and 256 MiB (map, set access and unmap
// hardly differ with the size), and cudaMalloc and cudaFree. Another machine will
// differ; the order of magnitude is what counts. Its memory is always resident, so
// the microsecond for wiring is made up: a short system call.
func H100() Costs {
	const us = time.Microsecond
	return Costs{
		Create:      Curve{{2 * mib, 11500}, {20 * mib, 10700}, {256 * mib, 15400}},
		Release:     Curve{{2 * mib, 40 * us}, {20 * mib, 14 * us}, {256 * mib, 85 * us}},
		MapHandle:   700,
		SetAccess:   33 * us,
		UnmapHandle: 22 * us,
		Alloc:       Curve{{4 * kib, 32 * us}, {2 * mib, 44 * us}, {64 * mib, 56 * us}, {gib, 99 * us}, {8 * gib, 11100 * us}},
		Free:        Curve{{4 * kib, 28 * us}, {2 * mib, 33 * us}, {64 * mib, 61 * us}, {gib, 323 * us}, {8 * gib, 3000 * us}},
		Wire:        us,
		Unwire:      us,
	}
}

func (c Costs) isZero() bool { return reflect.ValueOf(c).IsZero() }

func (c Curve) at(size int64) time.Duration {
	if len(c) == 0 {
		return 0
	}
	last := c[0]
	for _, p := range c {
		if size <= p.Size {
			if p.Size == last.Size {
				return p.Cost
			}
			share := float64(size-last.Size) / float64(p.Size-last.Size)
			return last.Cost + time.Duration(share*float64(p.Cost-last.Cost))
		}
		last = p
	}
	return last.Cost
}
