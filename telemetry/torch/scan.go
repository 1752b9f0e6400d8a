package torch

import (
	"fmt"
	"math"
)

const (
	// maxDepth bounds open marks. PyTorch's snapshots have about six: dict,
	// list of devices, list of events, event, stack of frames, frame.
	maxDepth = 100
	// maxLong bounds an integer, in bytes. Those of a snapshot fit in 9.
	maxLong = 256

	slotCost = 32 // a place on the stack: 16 bytes, twice as a slice keeps room to grow
	memoCost = 64 // a memo entry, in a Go map
	itemCost = 96 // a list item: a slot, and the Event and pairing it may become
)

// scan checks that data is a pickle of plain data, complete and sound in its
// structure, whose values take at most maxMemory bytes when they are built. It
// returns the memo entries that are fetched, for the others need not be kept.
//
// It is what stands between a hostile file and gopickle, which itself believes
// every length, and panics or loops on some of what is refused here.
func scan(data []byte, maxMemory int64) (fetched bitset, err error) {
	if err := checkStart(data); err != nil {
		return nil, err
	}
	s := scanner{size: uint64(len(data)), limit: maxMemory}
	for pos := 0; pos < len(data); {
		op, arg, end, err := lex(data, pos)
		if err != nil {
			return nil, err
		}
		if err := s.step(data[pos], op, arg); err != nil {
			return nil, fmt.Errorf("%w (%s at byte %d)", err, op.name, pos)
		}
		if data[pos] == opStop { // what follows is not read, as in Python
			return s.memo.fetched, nil
		}
		pos = end
	}
	return nil, malformed("truncated: no STOP in its %d bytes", len(data))
}

func checkStart(data []byte) error {
	switch {
	case len(data) == 0:
		return malformed("empty")
	case data[0] != opProto:
		return malformed("not a pickle of protocol 2 or later: it begins with %q", data[:min(len(data), 8)])
	}
	return nil
}

type scanner struct {
	size   uint64 // of the whole pickle
	memo   memo
	marks  []int // stack height at each open mark
	height int   // items on the stack
	top    int   // highest height so far
	cost   int64 // bytes that the values take, never over limit
	limit  int64
}

func (s *scanner) step(code byte, op *opcode, arg []byte) error {
	items := 0
	switch code {
	case opMark:
		if len(s.marks) == maxDepth {
			return malformed("nested more than %d deep", maxDepth)
		}
		s.marks = append(s.marks, s.height)
	case opAppends, opSetItems, opTuple, opPopMark:
		var err error
		if items, err = s.closeMark(); err != nil {
			return err
		}
		if code == opSetItems && items%2 != 0 {
			return malformed("a key without a value")
		}
	case opPop:
		return s.pop()
	case opProto:
		if arg[0] < 2 || arg[0] > 5 {
			return malformed("pickle protocol %d, want 2 to 5", arg[0])
		}
	case opLong1, opLong4:
		if len(arg) == 0 || len(arg) > maxLong {
			return malformed("an integer of %d bytes, want 1 to %d", len(arg), maxLong)
		}
	}
	first, err := s.memoStep(code, arg)
	if err != nil {
		return err
	}
	if s.above() < int(op.pops) {
		return malformed("%d of %d items on the stack", s.above(), op.pops)
	}
	s.height += int(op.pushes) - int(op.pops)
	return s.spend(code, op, len(arg), items, first)
}

// above is the number of items above the last mark, which is all that an opcode
// may touch.
func (s *scanner) above() int {
	if len(s.marks) == 0 {
		return s.height
	}
	return s.height - s.marks[len(s.marks)-1]
}

func (s *scanner) closeMark() (items int, err error) {
	if len(s.marks) == 0 {
		return 0, malformed("no mark on the stack")
	}
	items = s.above()
	s.height -= items
	s.marks = s.marks[:len(s.marks)-1]
	return items, nil
}

// pop takes an item, or the mark where no item is above it.
func (s *scanner) pop() error {
	if s.above() == 0 {
		_, err := s.closeMark()
		return err
	}
	s.height--
	return nil
}

// memoStep does an opcode's work on the memo. first: it is the first to fetch
// its entry.
func (s *scanner) memoStep(code byte, arg []byte) (first bool, err error) {
	switch code {
	case opBinPut, opLongBinPut, opMemoize:
		i := s.memo.index(code, arg)
		if i >= s.size || i > math.MaxUint32 {
			return false, malformed("memo index %d in a pickle of %d bytes", i, s.size)
		}
		s.memo.store(i)
	case opBinGet, opLongBinGet:
		i := littleEndian(arg)
		if !s.memo.stored.has(i) {
			return false, malformed("memo index %d was never stored", i)
		}
		first = !s.memo.fetched.has(i)
		s.memo.fetched.add(i)
	}
	return first, nil
}

// spend adds what the opcode's value takes.
func (s *scanner) spend(code byte, op *opcode, arg, items int, first bool) error {
	cost := int64(op.cost)
	if op.arg >= counted1 {
		cost += 2 * int64(arg) // read into a buffer, then copied
	}
	switch {
	case first:
		cost += memoCost
	case code == opAppends:
		cost += itemCost * int64(items)
	case code == opTuple:
		cost += slotCost * int64(items)
	}
	if s.height > s.top {
		cost += slotCost * int64(s.height-s.top)
		s.top = s.height
	}
	if cost > s.limit-s.cost {
		return fmt.Errorf("%w: its values would take more than %d bytes of memory", ErrTooLarge, s.limit)
	}
	s.cost += cost
	return nil
}

// memo follows which entries of the pickle's memo exist and which are used.
type memo struct {
	stored, fetched bitset
	entries         uint64 // stored, each counted once
}

// index is where a storing opcode puts its value.
func (m *memo) index(code byte, arg []byte) uint64 {
	if code == opMemoize {
		return m.entries
	}
	return littleEndian(arg)
}

func (m *memo) store(i uint64) {
	if !m.stored.has(i) {
		m.stored.add(i)
		m.entries++
	}
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(i uint64) bool {
	return i/64 < uint64(len(b)) && b[i/64]&(1<<(i%64)) != 0
}

func (b *bitset) add(i uint64) {
	for uint64(len(*b)) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}
