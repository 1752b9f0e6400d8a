package bench

import (
	"fmt"
	"sync"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/sim"
)

// Allocator is what is compared: H is what a malloc gives. All methods but Close
// may be called from any goroutine.
type Allocator[H any] interface {
	Malloc(stream int, size int64) (H, error)
	Free(h H) error
	Active() int64
	Peak() int64
	Cache() int64
	ResetPeak()
	// Close gives all free memory back to the device. An error if some is not free.
	Close() error
}

// Block is what the rivals hand out: memory of the device, a segment of its own.
type Block struct {
	size    int64
	segment metal.Segment

	next      *Block // of the same size (class), in the cache
	newer     *Block // MLX's rule: by when it was freed
	older     *Block
	stream    int32 // packed: owner
	sizeClass int32 // packed
	handedOut bool  // a second free is found, as by metalloc

	_ [56]byte // 128 in all: no two goroutines' blocks share a cache line
}

var errDoubleFree = fmt.Errorf("bench: block freed twice: %w", metal.ErrUnknownHandle)

// The rivals' device has no limit in reach, so that speed is compared, not what
// an allocator gives up first.
const (
	deviceMemory = 1 << 40
	pageSize     = 16 << 10 // Apple's; MLX rounds to it
)

// device is where a rival's misses go.
type device struct {
	sim *sim.SegmentDevice
}

func newDevice(hook func(sim.Call)) (*device, error) {
	d, err := sim.NewSegments(sim.Config{Memory: deviceMemory, PageSize: pageSize})
	if err != nil {
		return nil, err
	}
	d.Hook(hook)
	return &device{d}, nil
}

func (d *device) alloc(size int64) (*Block, error) {
	s, err := d.sim.Alloc(size)
	if err != nil {
		return nil, fmt.Errorf("bench: malloc of %d bytes: %w", size, err)
	}
	return &Block{size: size, segment: s}, nil
}

// release is for blocks that alloc gave, once each: the device can't refuse.
func (d *device) release(b *Block) {
	if err := d.sim.Free(b.segment); err != nil {
		panic(err)
	}
}

// slow is a sim hook: while on, taking memory lasts as long as wait does.
type slow struct {
	mu   sync.Mutex
	wait func() // nil: not at all
}

func (s *slow) set(wait func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = wait
}

func (s *slow) hook(c sim.Call) {
	if c != sim.CallAlloc && c != sim.CallCreate {
		return
	}
	s.mu.Lock()
	wait := s.wait
	s.mu.Unlock()
	if wait != nil {
		wait()
	}
}
