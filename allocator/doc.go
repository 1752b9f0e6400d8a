// Package allocator hands out device memory to the streams of a GPU program. It
// is what programs import.
//
//	rt, err := allocator.Open(dev)            // one runtime per device
//	s, err := rt.NewStream()                  // one per GPU stream; any goroutine may use it
//	buf, err := s.Malloc(ctx, 1<<20)          // bytes
//	err = buf.Free()                          // from any goroutine
//	err = rt.Close(ctx)                       // reports what was never freed
//
// Freed memory is kept in the stream's cache and handed out again. At any moment
// the runtime knows exactly what is active (in live buffers), cached and at
// peak, for each stream and in all, and reserved = active + cache + slack is
// what the device has given. Limits and queries follow MLX's memory management:
//
//	MLX                    metalloc
//	get_active_memory      Runtime.ActiveMemory
//	get_peak_memory        Runtime.PeakMemory
//	reset_peak_memory      Runtime.ResetPeakMemory
//	get_cache_memory       Runtime.CacheMemory
//	set_memory_limit       Runtime.SetMemoryLimit
//	set_cache_limit        Runtime.SetCacheLimit
//	set_wired_limit        Runtime.SetWiredLimit
//	clear_cache            Runtime.ClearCache
//
// All sizes are bytes in int64. Everything may be used from any goroutine.
// Nothing panics; errors unwrap to one of the variables below.
//
// Stable: the names here are metalloc's promised surface.
package allocator
