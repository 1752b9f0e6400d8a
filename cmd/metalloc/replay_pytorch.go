package main

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/metalloc/metalloc/internal/replay"
	"github.com/metalloc/metalloc/metal/sim"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// pytorchPeaks is what peaks.jsonl beside a trace knows of it; nil if nothing.
func pytorchPeaks(path string) (*replay.PyTorch, error) {
	all, err := torch.ReadPeaks(filepath.Join(filepath.Dir(path), "peaks.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	peaks, ok := all[torch.TraceName(path)]
	if !ok {
		return nil, nil
	}
	costs := sim.H100()
	return &replay.PyTorch{
		Native:     peaksOf(peaks[torch.Native], nativeTime(costs, peaks[torch.Native])),
		Expandable: peaksOf(peaks[torch.Expandable], expandableTime(costs, peaks[torch.Expandable])),
		Async:      peaksOf(peaks[torch.Async], 0), // its pool's calls aren't counted
	}, nil
}

func peaksOf(p torch.Peaks, driver time.Duration) replay.Peaks {
	return replay.Peaks{
		// cudaMallocAsync counts as allocated just what was requested.
		RequestedPeak: cmp.Or(p.Requested, p.Allocated),
		ReservedPeak:  p.Reserved,
		DriverNS:      driver.Nanoseconds(),
	}
}

// nativeTime models PyTorch's default allocator: each of its calls a cudaMalloc or
// a cudaFree of the mean segment.
func nativeTime(costs sim.Costs, p torch.Peaks) time.Duration {
	if p.DeviceAllocs == 0 {
		return 0
	}
	mean := p.Reserved / p.DeviceAllocs
	return time.Duration(p.DeviceAllocs)*costs.Alloc.At(mean) + time.Duration(p.DeviceFrees)*costs.Free.At(mean)
}

// expandableHandle is the most that PyTorch's expandable segments take at a time;
// for small blocks it is 2 MiB.
const expandableHandle = 20 << 20

// expandableTime models expandable segments: each call grows a segment by its share
// of what was reserved, in handles of 20 MiB, at least one; all of them are mapped
// in one run. That is rather too little: segments of small blocks have handles of 2
// MiB.
func expandableTime(costs sim.Costs, p torch.Peaks) time.Duration {
	if p.DeviceAllocs == 0 {
		return 0
	}
	handles := max(p.DeviceAllocs, (p.Reserved+expandableHandle-1)/expandableHandle)
	grow := time.Duration(p.DeviceAllocs)*costs.SetAccess +
		time.Duration(handles)*(costs.Create.At(expandableHandle)+costs.MapHandle+costs.SetAccessHandle.At(expandableHandle))
	shrink := time.Duration(p.DeviceFrees)*costs.Unmap +
		time.Duration(handles*p.DeviceFrees/p.DeviceAllocs)*(costs.UnmapHandle.At(expandableHandle)+costs.Release.At(expandableHandle))
	return grow + shrink
}
