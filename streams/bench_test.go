package streams

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkSame is the pair alone: one block, hot in the cache.
func BenchmarkSame(b *testing.B) {
	for _, size := range []int64{4 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprintf("size=%dKiB", size>>10), func(b *testing.B) {
			d := newFake(2 << 20)
			d.heap.Discard(d.malloc(size))
			h := d.heap
			b.ReportAllocs()
			for b.Loop() {
				h.Free(h.Malloc(size, size))
			}
		})
		b.Run(fmt.Sprintf("size=%dKiB/claim", size>>10), func(b *testing.B) {
			d := newFake(2 << 20)
			d.heap.Discard(d.malloc(size))
			h := d.heap
			b.ReportAllocs()
			for b.Loop() {
				x := h.Malloc(size, size)
				if !x.Claim(x.Gen()) {
					b.Fatal("not claimed")
				}
				h.Free(x)
			}
		})
	}
}

// BenchmarkPair frees and mallocs blocks of one size, one after the other in
// random order among those that live: with many of them every block is cold.
func BenchmarkPair(b *testing.B) {
	for _, size := range []int64{4 << 10, 1 << 20, 8 << 20} {
		for _, n := range []int{1, 1e3, 1e5, 1e6} {
			b.Run(fmt.Sprintf("size=%dKiB/live=%d", size>>10, n), func(b *testing.B) {
				d := newFake(2 << 20)
				live := make([]*Block, n)
				for i := range live {
					live[i] = d.malloc(size)
				}
				rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { live[i], live[j] = live[j], live[i] })
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					d.heap.Free(live[i])
					live[i] = d.heap.Malloc(size, size)
					if i++; i == n {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkMixed keeps a window of blocks of several classes and replaces the
// oldest, as a program's layers do.
func BenchmarkMixed(b *testing.B) {
	sizes := []int64{512, 4 << 10, 96 << 10, 1 << 20, 3 << 20, 8 << 20, 5<<20 + 512, 640 << 10}
	for _, window := range []int{8, 64, 1024} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) {
			d := newFake(2 << 20)
			live := make([]*Block, window)
			for i := range live {
				live[i] = d.malloc(sizes[i%len(sizes)])
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				size := live[i].Size()
				d.heap.Free(live[i])
				live[i] = d.heap.Malloc(size, size)
				if i++; i == window {
					i = 0
				}
			}
		})
	}
}
