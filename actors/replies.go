package actors

// This file knows all messages by type.

// failure is the reply that says why m, one of our messages, was not carried out.
func failure(m any, err error) any {
	switch m.(type) {
	case Malloc, *Malloc:
		return MallocReply{Err: err}
	case Free, *Free:
		return FreeReply{err}
	case RecordUse, *RecordUse:
		return RecordUseReply{err}
	case ActiveMemory, *ActiveMemory, PeakMemory, *PeakMemory, CacheMemory, *CacheMemory,
		ReservedMemory, *ReservedMemory, MemoryLimit, *MemoryLimit, CacheLimit, *CacheLimit,
		WiredLimit, *WiredLimit:
		return MemoryReply{Err: err}
	case ResetPeakMemory, *ResetPeakMemory:
		return ResetPeakReply{err}
	case SetMemoryLimit, *SetMemoryLimit, SetCacheLimit, *SetCacheLimit, SetWiredLimit, *SetWiredLimit:
		return LimitReply{Err: err}
	case ClearCache, *ClearCache:
		return ClearCacheReply{Err: err}
	case Snapshot, *Snapshot:
		return SnapshotReply{Err: err}
	case BeginSpan, *BeginSpan:
		return BeginSpanReply{Err: err}
	case EndSpan, *EndSpan:
		return EndSpanReply{Err: err}
	}
	return nil
}

// deref makes a request by pointer one by value; a nil pointer is no message.
func deref(m any) any {
	switch p := m.(type) {
	case *Malloc:
		return value(p)
	case *Free:
		return value(p)
	case *RecordUse:
		return value(p)
	case *ActiveMemory:
		return value(p)
	case *PeakMemory:
		return value(p)
	case *CacheMemory:
		return value(p)
	case *ReservedMemory:
		return value(p)
	case *MemoryLimit:
		return value(p)
	case *CacheLimit:
		return value(p)
	case *WiredLimit:
		return value(p)
	case *ResetPeakMemory:
		return value(p)
	case *SetMemoryLimit:
		return value(p)
	case *SetCacheLimit:
		return value(p)
	case *SetWiredLimit:
		return value(p)
	case *ClearCache:
		return value(p)
	case *Snapshot:
		return value(p)
	case *BeginSpan:
		return value(p)
	case *EndSpan:
		return value(p)
	}
	return m
}

func value[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
