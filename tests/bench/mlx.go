package bench

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/metalloc/metalloc/metal"
)

// mlx is the rule by which MLX's Metal allocator keeps buffers (ml-explore/mlx:
// mlx/backend/metal/allocator.cpp, mlx/backend/common/buffer_cache.h): above one
// page sizes are whole pages; a cached buffer serves n bytes if it is the smallest
// of at least n and smaller than min(2n, n + 2 pages), of equal ones the oldest;
// under pressure the longest cached go first. It is not safe for concurrent use:
// the rivals that share it differ in how they serialise it.
//
// Where MLX walks an ordered tree, the same answers come from tables. Up to a
// page there is a list for each size, found through a bitmap. Above, the bound
// leaves two sizes only: n and one page more.
type mlx struct {
	release func(*Block)

	small  [pageSize + 1]list
	filled [pageSize/64 + 1]uint64 // bit per small list: not empty
	large  map[int64]*list         // by pages, from directPages on
	direct [directPages]list       // by pages

	newest, oldest *Block

	active, peak, cache int64
	buffers             int64 // active and cached ones

	limit, reclaimFrom, cacheLimit, bufferLimit int64 // as MLX's defaults
}

const (
	directPages = 1 << 12 // up to 64 MiB
	// maxBuffers is MLX's resource limit on Macs of the size that it is used on.
	maxBuffers = 499_000
)

// list holds cached blocks of one size, the oldest first.
type list struct{ first, last *Block }

// newMLX makes room for as many buffers as MLX, and for as many more as a workload
// needs live.
func newMLX(info metal.Info, live int, release func(*Block)) *mlx {
	memory, workingSet := info.Memory, info.WorkingSet
	m := &mlx{release: release, large: map[int64]*list{}, bufferLimit: maxBuffers + int64(live)}
	m.limit = min(workingSet+workingSet/2, memory/20*19)
	m.reclaimFrom = min(workingSet/20*19, m.limit)
	m.cacheLimit = m.limit
	return m
}

var errSize = errors.New("bench: want more than 0 bytes")

func roundMLX(size int64) (int64, error) {
	if size <= 0 || size > math.MaxInt64/4 {
		return 0, fmt.Errorf("%w, not %d", errSize, size)
	}
	if size > pageSize {
		size = (size + pageSize - 1) &^ (pageSize - 1)
	}
	return size, nil
}

// take finds a cached block for a rounded size and counts it as active. nil: the
// caller must take one from the device, outside of what serialises, and commit it.
func (m *mlx) take(size int64) (*Block, error) {
	b := m.reuse(size)
	if b != nil {
		m.hand(b)
		return b, nil
	}
	if need := m.active + m.cache + size; need >= m.reclaimFrom || m.buffers >= m.bufferLimit {
		if need < m.reclaimFrom {
			need = math.MaxInt64 // MLX subtracts unsigned sizes: everything goes
		}
		m.evict(need - m.reclaimFrom)
	}
	if m.buffers >= m.bufferLimit {
		return nil, fmt.Errorf("bench: %d buffers is the most there may be", m.bufferLimit)
	}
	return nil, nil
}

// commit counts a block that is new from the device.
func (m *mlx) commit(b *Block) {
	m.buffers++
	m.hand(b)
}

func (m *mlx) hand(b *Block) {
	b.handedOut = true
	m.active += b.size
	m.peak = max(m.peak, m.active)
	if m.cache > m.cacheLimit {
		m.evict(m.cache - m.cacheLimit)
	}
}

// give takes a block back. true: the cache is full, the caller must release it.
func (m *mlx) give(b *Block) (full bool, err error) {
	if !b.handedOut {
		return false, errDoubleFree
	}
	b.handedOut = false
	m.active -= b.size
	if m.cache >= m.cacheLimit {
		m.buffers--
		return true, nil
	}
	m.keep(b)
	return false, nil
}

// reuse takes the block that fits best out of the cache.
func (m *mlx) reuse(size int64) *Block {
	if size <= pageSize {
		return m.reuseSmall(size)
	}
	for _, s := range [...]int64{size, size + pageSize} { // less than 2n: n has two pages or more
		if l := m.listOf(s); l != nil && l.first != nil {
			return m.unlist(l)
		}
	}
	return nil
}

func (m *mlx) reuseSmall(size int64) *Block {
	end := min(2*size, pageSize+1) // 2 pages would be < 2n for n > 1 page only
	word, mask := size/64, ^uint64(0)<<(size%64)
	for ; word*64 < end; word, mask = word+1, ^uint64(0) {
		if set := m.filled[word] & mask; set != 0 {
			if found := word*64 + int64(bits.TrailingZeros64(set)); found < end {
				return m.unlist(&m.small[found])
			}
			return nil
		}
	}
	return nil
}

// listOf is the list of a rounded size; nil: there never was such a block.
func (m *mlx) listOf(size int64) *list {
	if size <= pageSize {
		return &m.small[size]
	}
	if pages := size / pageSize; pages < directPages {
		return &m.direct[pages]
	}
	return m.large[size/pageSize]
}

// keep puts a block into the cache, as the newest.
func (m *mlx) keep(b *Block) {
	l := m.listOf(b.size)
	if l == nil {
		l = new(list)
		m.large[b.size/pageSize] = l
	}
	if l.first == nil {
		l.first = b
		if b.size <= pageSize {
			m.filled[b.size/64] |= 1 << (b.size % 64)
		}
	} else {
		l.last.next = b
	}
	l.last = b
	b.older = m.newest
	if m.newest == nil {
		m.oldest = b
	} else {
		m.newest.newer = b
	}
	m.newest = b
	m.cache += b.size
}

// unlist takes the oldest block of a list, which has one, out of the cache.
func (m *mlx) unlist(l *list) *Block {
	b := l.first
	l.first, b.next = b.next, nil
	if l.first == nil {
		l.last = nil
		if b.size <= pageSize {
			m.filled[b.size/64] &^= 1 << (b.size % 64)
		}
	}
	if b.newer == nil {
		m.newest = b.older
	} else {
		b.newer.older = b.older
	}
	if b.older == nil {
		m.oldest = b.newer
	} else {
		b.older.newer = b.newer
	}
	b.newer, b.older = nil, nil
	m.cache -= b.size
	return b
}

// evict releases the longest cached blocks until that many bytes have gone; all
// if it is nearly all.
func (m *mlx) evict(bytes int64) {
	if float64(bytes) >= 0.9*float64(m.cache) {
		bytes = math.MaxInt64
	}
	for gone := int64(0); m.oldest != nil && gone < bytes; {
		b := m.unlist(m.listOf(m.oldest.size)) // the oldest of all is that of its list
		gone += b.size
		m.buffers--
		m.release(b)
	}
}

// clear empties the cache. An error says what is still in use.
func (m *mlx) clear() error {
	m.evict(math.MaxInt64)
	if m.active != 0 {
		return fmt.Errorf("bench: %d bytes still live at the end", m.active)
	}
	return nil
}
