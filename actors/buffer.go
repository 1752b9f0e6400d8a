package actors

import (
	"errors"
	"unsafe"

	"github.com/metalloc/metalloc/streams"
)

// Buffer is a piece of device memory that a malloc handed out. It is a small
// value, free to copy and comparable; the zero Buffer is none. Whoever holds a
// copy may free it, once, from any goroutine. A buffer of zero bytes is valid,
// has no address, and freeing it is nil each time.
type Buffer struct {
	// Four words: the compiler keeps such a struct in registers, a larger one in
	// memory (cmd/compile/internal/ssa: CanSSA). So one pointer leads to block and
	// stream, and, where a buffer is watched for being dropped, to its token.
	h    *streams.Handle // nil: the zero Buffer
	gen  uint64          // the block's generation when it was handed out
	addr uintptr
	size int64
}

// block is nil for a buffer of zero bytes.
func (b Buffer) block() *streams.Block {
	if b.h == nil {
		return nil
	}
	return b.h.Block
}

// stream is nil for the zero Buffer.
func (b Buffer) stream() *Stream {
	if b.h == nil {
		return nil
	}
	s, _ := b.h.Home.Owner.(*Stream)
	return s
}

func (s *Stream) buffer(blk *streams.Block, size int64) Buffer {
	return Buffer{h: blk.Handle(), gen: blk.Gen(), addr: blk.Addr(), size: size}
}

// Size is what was asked for, bytes. It keeps its value after Free.
func (b Buffer) Size() int64 { return b.size }

// Capacity is what the buffer takes of the device, bytes: Size rounded up to
// the alignment.
func (b Buffer) Capacity() int64 {
	if b.block() == nil {
		return 0
	}
	return b.stream().heap.Round(b.size)
}

// Addr is the device address; it keeps its value after Free. 0 for a buffer of
// zero bytes.
func (b Buffer) Addr() uintptr { return b.addr }

// Bytes is the memory as the host sees it, Size bytes long: nil after Free, for
// a buffer of zero bytes, and on a device whose memory the host can't see. A
// slice taken before Free reads stale or zero bytes afterwards and never faults
// before the runtime is closed. What a fresh buffer contains is up to the device
// and to who used the memory before.
func (b Buffer) Bytes() []byte {
	if b.block() == nil || !b.stream().core.info.HostVisible {
		return nil
	}
	if b.block().Gen() != b.gen {
		return nil
	}
	return hostBytes(b.addr, b.size)
}

// hostBytes is device memory as the host sees it. The address is the device's,
// not Go's: there is no pointer arithmetic for vet to check.
func hostBytes(addr uintptr, size int64) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), size)
}

// Stream is the stream that the buffer came from; nil for the zero Buffer.
func (b Buffer) Stream() *Stream { return b.stream() }

// Free gives the buffer back to its stream, which may hand the memory out again
// at once: work queued on that stream later comes behind work queued before.
// Other streams' use must have been told by RecordUse. From any goroutine; it
// waits only for the stream's present turn, or, where the cache limit makes
// memory go back to the device at once, for that. ErrDoubleFree the second time,
// ErrForeignBuffer for the zero Buffer: nothing is changed then.
func (b Buffer) Free() error {
	if b.h == nil {
		return &AllocError{Op: "free", Err: ErrForeignBuffer}
	}
	blk := b.h.Block
	if blk == nil {
		return nil
	}
	s := b.stream()
	if !blk.Claim(b.gen) {
		return s.core.fail("free", s, b.size, ErrDoubleFree)
	}
	return s.free(blk, b)
}

// RecordUse says that work queued on s uses the buffer: after Free it is not
// reused before s has passed the point of the Free. On the buffer's own stream
// it does nothing. ErrDoubleFree when the buffer was freed already,
// ErrForeignBuffer when s is another runtime's.
func (b Buffer) RecordUse(s *Stream) error {
	switch {
	case b.stream() == nil || s == nil || s.core != b.stream().core:
		return &AllocError{Op: "record use", Err: ErrForeignBuffer}
	case b.block() == nil || s == b.stream():
		return nil
	}
	c := b.stream().core.newCall(func(c *call) { c.err = c.buf.stream().noteUse(c.buf, c.other) })
	defer b.stream().core.freeCall(c)
	c.buf, c.other = b, s
	b.stream().do(c)
	return c.err
}

// FreeAll frees what it can and joins the errors of the rest.
func FreeAll(bs []Buffer) error {
	var errs []error
	for _, b := range bs {
		if err := b.Free(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
