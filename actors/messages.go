package actors

import "github.com/metalloc/metalloc/telemetry"

// The operations as messages, for programs that are built of actors themselves:
// request them from a stream's PID or the supervisor's, by value or pointer.
// Replies come by value. A message without a sender is carried out and answers
// nobody.
//
//	to a stream or the supervisor: ActiveMemory PeakMemory CacheMemory
//	    ReservedMemory ResetPeakMemory ClearCache Snapshot
//	to a stream: Malloc Free RecordUse
//	to the supervisor: MemoryLimit CacheLimit WiredLimit SetMemoryLimit
//	    SetCacheLimit SetWiredLimit BeginSpan EndSpan
type (
	// Malloc asks a stream for Size bytes; MallocReply answers. A reply that
	// nobody is left to receive is freed.
	Malloc struct{ Size int64 }
	// MallocReply carries the buffer, or why there is none.
	MallocReply struct {
		Buffer Buffer
		Err    error
	}

	// Free gives a buffer back, to any stream of its runtime; FreeReply answers.
	Free struct{ Buffer Buffer }
	// FreeReply says whether it was freed.
	FreeReply struct{ Err error }

	// RecordUse says that work queued on Stream uses the buffer; RecordUseReply
	// answers.
	RecordUse struct {
		Buffer Buffer
		Stream *Stream
	}
	// RecordUseReply says whether it was noted.
	RecordUseReply struct{ Err error }

	// ActiveMemory asks for a figure, as do the next six; MemoryReply answers.
	ActiveMemory struct{}
	// PeakMemory asks for the highest active bytes since start or reset.
	PeakMemory struct{}
	// CacheMemory asks for the bytes freed and kept.
	CacheMemory struct{}
	// ReservedMemory asks for the bytes taken from the device.
	ReservedMemory struct{}
	// MemoryLimit asks for the memory limit, resolved.
	MemoryLimit struct{}
	// CacheLimit asks for the cache limit, resolved.
	CacheLimit struct{}
	// WiredLimit asks for the wired limit, resolved.
	WiredLimit struct{}
	// MemoryReply answers a query.
	MemoryReply struct {
		Bytes int64
		Err   error
	}

	// ResetPeakMemory forgets the peak of whom it is sent to; ResetPeakReply answers.
	ResetPeakMemory struct{}
	// ResetPeakReply says that it is done.
	ResetPeakReply struct{ Err error }

	// SetMemoryLimit sets a limit, as do the next two; LimitReply answers.
	SetMemoryLimit struct{ Bytes int64 }
	// SetCacheLimit bounds the cache; lowering trims before the reply.
	SetCacheLimit struct{ Bytes int64 }
	// SetWiredLimit bounds what is kept resident.
	SetWiredLimit struct{ Bytes int64 }
	// LimitReply carries the limit before.
	LimitReply struct {
		Previous int64
		Err      error
	}

	// ClearCache gives everything reusable back to the device; ClearCacheReply answers.
	ClearCache struct{}
	// ClearCacheReply says how many bytes went back, and how many wait for marks.
	ClearCacheReply struct {
		Released int64
		Pending  int64
		Err      error
	}

	// BeginSpan opens a span, from which on the highest active is kept, until
	// EndSpan; BeginSpanReply answers.
	BeginSpan struct{ Name string }
	// BeginSpanReply names the span and says what is active now, bytes.
	BeginSpanReply struct {
		Span   uint64
		Active int64
		Err    error
	}
	// EndSpan closes a span; EndSpanReply answers.
	EndSpan struct{ Span uint64 }
	// EndSpanReply says what was active meanwhile. ErrBadMessage: no such span is open.
	EndSpanReply struct {
		Span telemetry.Span
		Err  error
	}

	// Snapshot asks for one consistent picture; SnapshotReply answers.
	Snapshot struct{}
	// SnapshotReply carries it.
	SnapshotReply struct {
		Snapshot telemetry.Snapshot
		Err      error
	}
)
