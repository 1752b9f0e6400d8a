package actors

import (
	"errors"
	"fmt"
	"strings"

	humanize "github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/metal"
)

// The errors that metalloc gives, each for a different remedy; ask with
// errors.Is. The device's own are metal's, under the same names.
var (
	ErrOutOfMemory   = metal.ErrOutOfMemory
	ErrTooLarge      = metal.ErrTooLarge
	ErrInvalidSize   = metal.ErrInvalidSize
	ErrLimitExceeded = metal.ErrLimitExceeded
	ErrUnsupported   = metal.ErrUnsupported
	ErrBusy          = metal.ErrBusy
	ErrDeviceLost    = metal.ErrDeviceLost
	ErrClosed        = metal.ErrClosed

	// ErrDoubleFree: the buffer was freed before. Nothing changed.
	ErrDoubleFree = errors.New("buffer already freed")
	// ErrForeignBuffer: not a buffer of this runtime, or the zero Buffer.
	ErrForeignBuffer = errors.New("not a buffer of this runtime")
	// ErrNoRoom: what lies behind the buffer is taken, so it can't grow in place.
	ErrNoRoom = errors.New("no room behind the buffer")
	// ErrStreamFailed: the stream's state was found broken after a panic. It
	// hands out nothing more; Free, queries and Close go on.
	ErrStreamFailed = errors.New("stream failed")
	// ErrBadMessage: a message with a nil pointer or a field that makes no sense.
	ErrBadMessage = errors.New("bad message")
)

// AllocError says what was asked, of whom, and how things stood. It unwraps to
// the reason, one of the errors above or a ctx's. Error is one line, and an indented
// one for each holder when Holders is set.
type AllocError struct {
	Op        string // "malloc", "free", …
	Stream    string // name; empty: the runtime
	Device    string
	Requested int64  // bytes
	Active    int64  // bytes, of the runtime
	Cache     int64  // bytes, of the runtime
	Limit     int64  // bytes, the memory limit
	Holders   string // who holds what, when a limit or the device refused: Shortage in words
	Err       error

	Shortage *Shortage // nil unless a limit or the device refused
}

func (e *AllocError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", e.Op)
	if e.Requested > 0 {
		fmt.Fprintf(&b, " of %d bytes", e.Requested)
	}
	if e.Requested >= 1<<20 {
		fmt.Fprintf(&b, " (%s)", sizeText(e.Requested))
	}
	if e.Stream != "" {
		fmt.Fprintf(&b, " on stream %q", e.Stream)
	}
	fmt.Fprintf(&b, " (%s): %v: ", e.Device, e.Err)
	if e.Shortage == nil {
		fmt.Fprintf(&b, "active %s, cache %s, limit %s",
			humanize.IBytes(uint64(e.Active)), humanize.IBytes(uint64(e.Cache)), limitText(e.Limit))
		return b.String()
	}
	b.WriteString(e.Shortage.String())
	if e.Holders != "" {
		b.WriteString("\n  " + strings.ReplaceAll(e.Holders, "\n", "\n  "))
	}
	return b.String()
}

// explain adds what holds the memory.
func (e *AllocError) explain(s *Shortage) {
	if s != nil {
		e.Shortage, e.Holders = s, s.holders()
	}
}

func (e *AllocError) Unwrap() error { return e.Err }

func limitText(n int64) string {
	if n == NoLimit {
		return "none"
	}
	return humanize.IBytes(uint64(n))
}

// LeakError is what Close found still held. The buffers stay valid and can still
// be freed; a second Close releases what was freed meanwhile.
type LeakError struct {
	Buffers int64 // live
	Bytes   int64 // active
	Pending int64 // bytes freed that queued work may still use
	Streams []StreamLeak
}

// StreamLeak is one stream's part of a LeakError.
type StreamLeak struct {
	Stream  string
	Buffers int64
	Bytes   int64
}

func (e *LeakError) Error() string {
	if e.Buffers == 0 {
		return fmt.Sprintf("no buffer live, but %d bytes freed that queued work may still use: their queue has not passed", e.Pending)
	}
	var parts []string
	for _, s := range e.Streams {
		parts = append(parts, fmt.Sprintf("%d of stream %q (%s)", s.Buffers, s.Stream, humanize.IBytes(uint64(s.Bytes))))
	}
	msg := fmt.Sprintf("%d buffers still live, %d bytes", e.Buffers, e.Bytes)
	if len(parts) > 0 {
		msg += ": " + strings.Join(parts, ", ")
	}
	if e.Pending > 0 {
		msg += fmt.Sprintf("; %d bytes freed but still used by queued work", e.Pending)
	}
	return msg
}
