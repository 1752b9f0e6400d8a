package streams

import "math/bits"

// Unit is the size of which every block's offset and size is a multiple, bytes.
// 512 covers CUDA's 256 and is what PyTorch rounds to.
const Unit = 512

const (
	unitShift  = 9
	subBits    = 5 // 32 classes per power of two: a class is at most 1/32 wide
	numClasses = 1152
	bitWords   = numClasses / 64
	// MaxBlock is the largest block that a heap can hand out, bytes.
	MaxBlock = int64(1) << 50
)

// classOf gives the size class of a positive multiple of Unit. Classes rise with
// size; below 64 units each size has its own.
func classOf(size int64) int {
	u := uint64(size) >> unitShift
	e := bits.Len64(u >> (subBits + 1)) // 0 below 64 units
	return int(min(uint64(e)<<subBits+u>>e, numClasses-1))
}

// classSet is a set of classes, searched a word at a time.
type classSet [bitWords]uint64

func (s *classSet) add(c int)    { s[c>>6] |= 1 << (c & 63) }
func (s *classSet) remove(c int) { s[c>>6] &^= 1 << (c & 63) }

// next gives the smallest member ≥ c, or -1.
func (s *classSet) next(c int) int {
	w := c >> 6
	if w >= bitWords {
		return -1
	}
	for x := s[w] >> (c & 63) << (c & 63); ; x = s[w] {
		if x != 0 {
			return w<<6 + bits.TrailingZeros64(x)
		}
		if w++; w == bitWords {
			return -1
		}
	}
}
