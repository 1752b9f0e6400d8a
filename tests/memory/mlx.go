package main

import "slices"

// mlxPage is Apple's; MLX rounds sizes above it to whole pages.
const mlxPage = 16 << 10

// mlxCache is the rule by which MLX keeps buffers, without a limit (ml-explore/mlx:
// mlx/backend/common/buffer_cache.h): a cached buffer serves n bytes if it is the
// smallest of at least n and smaller than min(2n, n + 2 pages). Otherwise a new one
// is taken. Blocks of 0 bytes take none.
type mlxCache struct {
	reserved int64         // all that was ever taken
	sizes    []int64       // that were ever cached, in order
	cached   map[int64]int // buffers by size
}

// take gives the size of the buffer that serves n bytes.
func (c *mlxCache) take(n int64) int64 {
	if n > mlxPage {
		n = (n + mlxPage - 1) / mlxPage * mlxPage
	}
	for i, _ := slices.BinarySearch(c.sizes, n); i < len(c.sizes) && c.sizes[i] < min(2*n, n+2*mlxPage); i++ {
		if size := c.sizes[i]; c.cached[size] > 0 {
			c.cached[size]--
			return size
		}
	}
	c.reserved += n
	return n
}

// give puts a buffer into the cache.
func (c *mlxCache) give(size int64) {
	if c.cached == nil {
		c.cached = map[int64]int{}
	}
	if i, known := slices.BinarySearch(c.sizes, size); !known {
		c.sizes = slices.Insert(c.sizes, i, size)
	}
	c.cached[size]++
}
