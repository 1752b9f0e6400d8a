package sim

import (
	"reflect"
	"time"
)

// Costs says how long a device's calls take. Reserving address space and
// everything about marks is free. A Map stands for CUDA's cuMemMap of each
// handle and one cuMemSetAccess over all of them, an Unmap for one cuMemUnmap;
// the last two cost by the call and by each handle in it.
type Costs struct {
	Create          Curve         // per handle, by its size
	Release         Curve         // per handle, by its size
	MapHandle       time.Duration // per handle mapped
	SetAccess       time.Duration // per Map
	SetAccessHandle Curve         // per handle mapped, by its size
	Unmap           time.Duration // per Unmap
	UnmapHandle     Curve         // per handle unmapped, by its size
	Alloc, Free     Curve         // per segment, by its size
	Wire            time.Duration // per call
	Unwire          time.Duration // per call
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

// H100 is what an NVIDIA H100 takes, measured from C++ with driver 580. Two
// measurements on two such machines went in. peaks.jsonl beside the recorded
// histories (tests/testdata/traces) has cudaMalloc, cudaFree, and the virtual
// memory calls for one handle of 2, 20 and 256 MiB. docs/figures/vmm-h100.jsonl,
// by tests/bench/vmm, tells how these grow with the handles in a call, and adds 64
// MiB and 1 GiB. Where both know a figure the higher one stands.
//
// Another machine will differ; the order of magnitude is what counts. GPU memory is
// always resident, so the microsecond for wiring is made up: a short system call.
func H100() Costs {
	const us = time.Microsecond
	return Costs{
		Create:          Curve{{2 * mib, 11500}, {20 * mib, 10700}, {256 * mib, 15400}, {gib, 65 * us}},
		Release:         Curve{{2 * mib, 40 * us}, {20 * mib, 14 * us}, {64 * mib, 34 * us}, {256 * mib, 87 * us}, {gib, 300 * us}},
		MapHandle:       700,
		SetAccess:       12 * us,
		SetAccessHandle: Curve{{64 * mib, 22 * us}, {256 * mib, 33 * us}, {gib, 50 * us}},
		Unmap:           7 * us,
		UnmapHandle:     Curve{{64 * mib, 15 * us}, {256 * mib, 20 * us}, {gib, 25 * us}},
		Alloc:           Curve{{4 * kib, 44 * us}, {2 * mib, 34 * us}, {64 * mib, 56 * us}, {gib, 113 * us}, {8 * gib, 11100 * us}},
		Free:            Curve{{4 * kib, 33 * us}, {2 * mib, 36 * us}, {64 * mib, 61 * us}, {gib, 340 * us}, {8 * gib, 3000 * us}},
		Wire:            us,
		Unwire:          us,
	}
}

func (c Costs) isZero() bool { return reflect.ValueOf(c).IsZero() }

// At is the cost at a size in bytes.
func (c Curve) At(size int64) time.Duration {
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
