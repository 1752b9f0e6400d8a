package allocator_test

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

// simulated opens a device for the examples below.
func simulated() *sim.Device {
	dev, err := sim.New(sim.Config{Memory: 1 << 30})
	if err != nil {
		panic(err)
	}
	return dev
}

func Example() {
	ctx := context.Background()
	dev, _ := host.Open()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	buf, _ := s.Malloc(ctx, 1<<20)
	copy(buf.Bytes(), "any bytes")
	fmt.Println(rt.ActiveMemory(), s.PeakMemory())
	fmt.Println(buf.Free(), rt.ActiveMemory(), rt.CacheMemory())
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// 1048576 1048576
	// <nil> 0 2097152
	// <nil> <nil>
}

func ExampleOpen() {
	dev := simulated()
	rt, err := allocator.Open(dev,
		allocator.WithMemoryLimit(512<<20),
		allocator.WithPolicy(allocator.Refuse),
		allocator.WithLogger(zap.NewNop()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rt.MemoryLimit(), rt.CacheLimit(), rt.WiredLimit())
	_, err = allocator.Open(dev, allocator.WithPolicy(allocator.Wait))
	fmt.Println(errors.Is(err, allocator.ErrUnsupported))
	fmt.Println(rt.Close(context.Background()), dev.Close())
	// Output:
	// 536870912 536870912 0
	// true
	// <nil> <nil>
}

func ExampleRuntime_SetMemoryLimit() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev, allocator.WithPolicy(allocator.Refuse))
	s, _ := rt.NewStream(allocator.WithName("decode"))
	previous, err := rt.SetMemoryLimit(4 << 20)
	fmt.Println(previous, err)
	kept, _ := s.Malloc(ctx, 3<<20)
	_, err = s.Malloc(ctx, 2<<20)
	fmt.Println(errors.Is(err, allocator.ErrLimitExceeded))
	var ae *allocator.AllocError
	if errors.As(err, &ae) {
		fmt.Println(ae.Requested, ae.Limit, ae.Holders)
	}
	fmt.Println(kept.Free(), rt.Close(ctx), dev.Close())
	// Output:
	// 1020054732 <nil>
	// true
	// 2097152 4194304 "decode": active 3 MiB in 1 buffer, the largest 3 MiB; cache 0 B + slack 1 MiB: 1 MiB where it would have lain
	// <nil> <nil> <nil>
}

func ExampleRuntime_SetCacheLimit() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	b, _ := s.Malloc(ctx, 8<<20)
	fmt.Println(b.Free(), rt.CacheMemory())
	_, err := rt.SetCacheLimit(0)
	fmt.Println(err, rt.CacheMemory(), rt.ReservedMemory())
	b, _ = s.Malloc(ctx, 8<<20)
	fmt.Println(b.Free(), rt.CacheMemory())
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// <nil> 8388608
	// <nil> 0 0
	// <nil> 0
	// <nil> <nil>
}

func ExampleRuntime_SetWiredLimit() {
	dev := simulated()
	rt, _ := allocator.Open(dev)
	_, err := rt.SetWiredLimit(dev.Info().WorkingSet + 1)
	fmt.Println(errors.Is(err, allocator.ErrInvalidSize))
	fmt.Println(rt.Close(context.Background()), dev.Close())
	// Output:
	// true
	// <nil> <nil>
}

func ExampleRuntime_ClearCache() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	b, _ := s.Malloc(ctx, 8<<20)
	fmt.Println(b.Free())
	fmt.Println(rt.ClearCache())
	fmt.Println(rt.ReservedMemory(), rt.PeakMemory())
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// <nil>
	// 8388608 <nil>
	// 0 8388608
	// <nil> <nil>
}

func ExampleRuntime_Snapshot() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream(allocator.WithName("prefill"))
	b, _ := s.Malloc(ctx, 1000)
	for _, row := range rt.Snapshot().Streams {
		fmt.Printf("%q requested %d active %d cache %d slack %d reserved %d\n",
			row.Name, row.Requested, row.Active, row.Cache, row.Slack, row.Reserved)
	}
	fmt.Println(b.Free(), rt.Close(ctx), dev.Close())
	// Output:
	// "" requested 0 active 0 cache 0 slack 0 reserved 0
	// "prefill" requested 1000 active 1024 cache 0 slack 2096128 reserved 2097152
	// <nil> <nil> <nil>
}

func ExampleRuntime_ResetPeakMemory() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	a, _ := s.Malloc(ctx, 4096)
	rt.ResetPeakMemory()
	fmt.Println(rt.PeakMemory())
	b, _ := s.Malloc(ctx, 512)
	fmt.Println(rt.PeakMemory())
	fmt.Println(allocator.FreeAll([]allocator.Buffer{a, b}), rt.Close(ctx), dev.Close())
	// Output:
	// 0
	// 4608
	// <nil> <nil> <nil>
}

// Close says what was never freed. It can be asked again.
func ExampleRuntime_Close() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream(allocator.WithName("decode"))
	b, _ := s.Malloc(ctx, 1<<20)
	fmt.Println(rt.Close(ctx))
	fmt.Println(b.Free(), rt.Close(ctx), dev.Close())
	// Output:
	// 1 buffers still live, 1048576 bytes: 1 of stream "decode" (1.0 MiB)
	// <nil> <nil> <nil>
}

// Work on another stream uses the buffer, so it isn't reused before that is done.
func ExampleRuntime_NewStream() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	queue, _ := dev.NewQueue() // a CUDA stream, on a GPU
	s, _ := rt.NewStream()
	copies, _ := rt.NewStream(allocator.WithName("copies"), allocator.WithHandle(queue.Handle()))
	b, _ := s.Malloc(ctx, 1<<20)
	queue.Submit()
	fmt.Println(b.RecordUse(copies), b.Free())
	fmt.Println(rt.Snapshot().Total.Pending)
	queue.CompleteAll()
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// <nil> <nil>
	// 1048576
	// <nil> <nil>
}

// Two runtimes in one actor system.
func ExampleNewSystem() {
	sys := allocator.NewSystem(zap.NewNop())
	defer sys.Shutdown()
	a, b := simulated(), simulated()
	first, _ := allocator.Open(a, allocator.WithActorSystem(sys))
	second, _ := allocator.Open(b, allocator.WithActorSystem(sys))
	ctx := context.Background()
	fmt.Println(first.Close(ctx), second.Close(ctx), a.Close(), b.Close())
	// Output: <nil> <nil> <nil> <nil>
}

func ExampleFreeAll() {
	ctx := context.Background()
	dev := simulated()
	rt, _ := allocator.Open(dev)
	s, _ := rt.NewStream()
	b, _ := s.Malloc(ctx, 512)
	err := allocator.FreeAll([]allocator.Buffer{b, b, {}})
	fmt.Println(errors.Is(err, allocator.ErrDoubleFree), errors.Is(err, allocator.ErrForeignBuffer), rt.ActiveMemory())
	fmt.Println(rt.Close(ctx), dev.Close())
	// Output:
	// true true 0
	// <nil> <nil>
}
