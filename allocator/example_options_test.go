package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
)

// Whoever runs the program may set the limits.
func ExampleFromEnv() {
	_ = os.Setenv("METALLOC_MEMORY_LIMIT", "256MiB")
	_ = os.Setenv("METALLOC_CACHE_LIMIT", "25%")
	defer func() { _ = os.Unsetenv("METALLOC_MEMORY_LIMIT") }()
	defer func() { _ = os.Unsetenv("METALLOC_CACHE_LIMIT") }()
	dev := simulated()
	rt, _ := allocator.Open(dev, allocator.WithMemoryLimit(1<<30), allocator.FromEnv())
	fmt.Println(rt.MemoryLimit()>>20, rt.CacheLimit()>>20)
	fmt.Println(rt.Close(context.Background()), dev.Close())
	// Output:
	// 256 64
	// <nil> <nil>
}

// Before a malloc is refused the program is asked to drop what it can.
func ExampleOnPressure() {
	ctx := context.Background()
	dev := simulated()
	var prefixes []allocator.Buffer // could be computed again
	rt, _ := allocator.Open(dev, allocator.WithPolicy(allocator.Refuse), allocator.WithMemoryLimit(8<<20),
		allocator.OnPressure(func(need int64) (freed int64) {
			for len(prefixes) > 0 && freed < need {
				freed += prefixes[0].Capacity()
				_ = prefixes[0].Free()
				prefixes = prefixes[1:]
			}
			return freed
		}))
	s, _ := rt.NewStream()
	for range 4 {
		b, _ := s.Malloc(ctx, 2<<20)
		prefixes = append(prefixes, b)
	}
	b, err := s.Malloc(ctx, 3<<20)
	fmt.Println(err, len(prefixes))
	fmt.Println(b.Free(), allocator.FreeAll(prefixes), rt.Close(ctx), dev.Close())
	// Output:
	// <nil> 2
	// <nil> <nil> <nil> <nil>
}

// Caches go back when the system runs short.
func ExampleWithReclaimOnPressure() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev, allocator.WithReclaimOnPressure())
	s, _ := rt.NewStream()
	b, _ := s.Malloc(ctx, 8<<20)
	fmt.Println(b.Free(), rt.CacheMemory())
	dev.SetPressure(metal.Critical) // a real device finds out by itself
	fmt.Println(rt.Close(ctx), rt.ReservedMemory(), dev.Close())
	// Output:
	// <nil> 8388608
	// <nil> 0 <nil>
}

func ExampleWithZero() {
	ctx := context.Background()
	dev, _ := host.Open()
	rt, _ := allocator.Open(dev, allocator.WithZero())
	s, _ := rt.NewStream()
	b, _ := s.Malloc(ctx, 100)
	b.Bytes()[7] = 1
	fmt.Println(b.Free())
	b, _ = s.Malloc(ctx, 100)
	fmt.Println(b.Bytes()[7])
	fmt.Println(b.Free(), rt.Close(ctx), dev.Close())
	// Output:
	// <nil>
	// 0
	// <nil> <nil> <nil>
}

// A tenant with limits of its own can't starve the others.
func ExampleWithStreamMemoryLimit() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev, allocator.WithPolicy(allocator.Refuse))
	s, _ := rt.NewStream(allocator.WithTag("team-a"),
		allocator.WithStreamMemoryLimit(8<<20), allocator.WithStreamCacheLimit(2<<20))
	_, err := s.Malloc(ctx, 16<<20)
	fmt.Println(errors.Is(err, allocator.ErrLimitExceeded), s.MemoryLimit(), s.CacheLimit())
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// true 8388608 2097152
	// <nil> <nil>
}

// All buffers or none, for one wait.
func ExampleStream_MallocAll() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	out := make([]allocator.Buffer, 3)
	err := s.MallocAll(ctx, []int64{1000, 0, 3 << 20}, out)
	fmt.Println(err, out[0].Size(), out[1].Size(), out[2].Size())
	fmt.Println(allocator.FreeAll(out), rt.Close(ctx), dev.Close())
	// Output:
	// <nil> 1000 0 3145728
	// <nil> <nil> <nil>
}

// Room behind a buffer lets it grow where it is.
func ExampleBuffer_Grow() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	b, _ := s.MallocWith(ctx, 1<<20, allocator.MallocOptions{Room: 16 << 20})
	reserved := rt.ReservedMemory()
	grown, err := b.Grow(ctx, 8<<20)
	fmt.Println(err, reserved, grown.Addr() == b.Addr(), grown.Size())
	_, err = grown.Grow(ctx, 1<<29)
	fmt.Println(errors.Is(err, allocator.ErrNoRoom))
	fmt.Println(grown.Free(), rt.Close(ctx), dev.Close())
	// Output:
	// <nil> 2097152 true 8388608
	// false
	// <nil> <nil> <nil>
}

func ExampleRuntime_LiveBuffers() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream(allocator.WithName("decode"))
	stop := rt.TrackCallSites()
	b, _ := s.Malloc(ctx, 1000)
	stop()
	for _, l := range rt.LiveBuffers() {
		fmt.Println(l.Stream, l.Size, l.Site != nil)
	}
	fmt.Println(b.Free(), len(rt.LiveBuffers()), rt.Close(ctx), dev.Close())
	// Output:
	// decode 1000 true
	// <nil> 0 <nil> <nil>
}

// Settle waits until nothing freed is used by queued work any more.
func ExampleRuntime_Settle() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	queue, _ := dev.NewQueue()
	s, _ := rt.NewStream()
	copies, _ := rt.NewStream(allocator.WithHandle(queue.Handle()))
	b, _ := s.Malloc(ctx, 4096)
	queue.Submit()
	fmt.Println(b.RecordUse(copies), b.Free(), rt.Snapshot().Total.Pending)
	queue.CompleteAll()
	fmt.Println(rt.Settle(ctx), rt.Snapshot().Total.Pending)
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// <nil> <nil> 4096
	// <nil> 0
	// <nil> <nil>
}
