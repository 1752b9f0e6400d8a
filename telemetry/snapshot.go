// Package telemetry is what metalloc tells about itself, as plain data. It
// imports nothing: exporters are packages of their own below it.
//
// Stable: [Snapshot] is part of metalloc's promised surface.
package telemetry

// Figures are the bytes of one stream or of a whole runtime at one instant.
//
//	Reserved = Active + Cache + Slack
//
// Pending is a part of Cache. The words are explained in docs/design.md.
type Figures struct {
	Requested int64 `json:"requested"` // asked for by the holders of live buffers
	Active    int64 `json:"active"`    // in live buffers, rounded up to the alignment
	Peak      int64 `json:"peak"`      // highest Active since start or reset
	Cache     int64 `json:"cache"`     // freed and kept for reuse
	Pending   int64 `json:"pending"`   // of Cache: queued work may still use it
	Slack     int64 `json:"slack"`     // other free bytes of pages that hold live buffers
	Reserved  int64 `json:"reserved"`  // taken from the device

	ReservedPeak int64 `json:"reserved_peak"` // highest Reserved since start

	Buffers int64 `json:"buffers"` // live buffers
	Mallocs int64 `json:"mallocs"` // since start; zero-byte ones not counted
	Frees   int64 `json:"frees"`
	Misses  int64 `json:"misses"` // mallocs and grows that needed the device
	Hits    int64 `json:"hits"`   // the other mallocs

	Refusals int64 `json:"refusals"` // ended by a limit or a full device
	Trims    int64 `json:"trims"`    // times that cache was given back
}

// Stream is one open stream's figures. The row with the empty name and ID 0 is
// what no open stream owns: pages on their way to or from the device, counted as
// cache, and buffers of closed streams.
type Stream struct {
	ID   uint64 `json:"id"`
	Name string `json:"name"`
	Tag  string `json:"tag,omitempty"` // as the stream was opened with; for accounting by owner
	Figures
	MemoryLimit int64 `json:"memory_limit"` // the stream's own; math.MaxInt64: none
	CacheLimit  int64 `json:"cache_limit"`
}

// Span is what was active, in a whole runtime, while something went on.
type Span struct {
	Name   string `json:"name"`
	Before int64  `json:"before"` // active at the beginning, bytes
	After  int64  `json:"after"`  // active at the end
	Peak   int64  `json:"peak"`   // highest active between, both ends included
}

// Limits are the limits in force, in bytes, resolved.
type Limits struct {
	Memory int64 `json:"memory"`
	Cache  int64 `json:"cache"`
	Wired  int64 `json:"wired"`
}

// Device is what was asked of the device so far.
type Device struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Memory     int64  `json:"memory"`      // bytes in all
	WorkingSet int64  `json:"working_set"` // recommended maximum, bytes
	PageSize   int64  `json:"page_size"`   // 0: whole segments only

	Calls    map[string]int64 `json:"calls"`     // by kind
	DriverNS int64            `json:"driver_ns"` // time in those calls; modelled on a simulated device
	Wired    int64            `json:"wired"`     // bytes kept resident
}

// Snapshot is one consistent picture: the streams, the row of what none owns
// included, add up to Total (Peak and ReservedPeak apart).
type Snapshot struct {
	Total   Figures  `json:"total"`
	Streams []Stream `json:"streams"` // by ID
	Limits  Limits   `json:"limits"`
	Device  Device   `json:"device"`
}
