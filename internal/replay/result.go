package replay

import (
	"math"

	"github.com/metalloc/metalloc/telemetry"
	"github.com/metalloc/metalloc/telemetry/torch"
)

// Result is what a replay showed; bytes and nanoseconds. "End" is after the last
// event, with what the program never freed still live.
type Result struct {
	Trace    string `json:"trace"`     // the caller's to set
	Device   string `json:"device"`    // kind
	PageSize int64  `json:"page_size"` // 0: whole segments only
	// HandleSize is the largest piece of memory worth taking at a time; 0: PageSize.
	HandleSize int64 `json:"handle_size"`
	Segments   bool  `json:"segments"` // the device gives whole segments only

	Concurrent bool  `json:"concurrent"` // a goroutine per stream
	Window     int   `json:"window"`     // events that they were apart at most; 0 also when not concurrent
	LagNS      int64 `json:"lag_ns"`     // from a free to when its mark was reached; 0: none

	Events  int `json:"events"` // in the file, of all actions
	Mallocs int `json:"mallocs"`
	Frees   int `json:"frees"`
	Skipped int `json:"skipped"` // frees of blocks that are not in the file
	Streams int `json:"streams"`
	// SpanNS is the file's time from its first event to its latest; 0: it has no times.
	SpanNS int64 `json:"span_ns"`

	// RequestedPeak counts a block from its malloc to its free_completed: from the
	// file alone, or, when concurrent, as it came in this run.
	RequestedPeak int64   `json:"requested_peak"`
	ActivePeak    int64   `json:"active_peak"`
	ReservedPeak  int64   `json:"reserved_peak"`
	Ratio         float64 `json:"ratio"` // ReservedPeak ÷ RequestedPeak; 0 if nothing was requested

	ActiveEnd  int64 `json:"active_end"`
	CacheEnd   int64 `json:"cache_end"`
	SlackEnd   int64 `json:"slack_end"`
	LiveEnd    int64 `json:"live_end"`    // buffers without a free_requested
	PendingEnd int64 `json:"pending_end"` // buffers with a free_requested and no free_completed

	Misses      int64            `json:"misses"`       // mallocs that needed the device
	DeviceCalls map[string]int64 `json:"device_calls"` // by kind
	DriverNS    int64            `json:"driver_ns"`    // in device calls; modelled on sim
	WallNS      int64            `json:"wall_ns"`      // first to last operation
	NSPerOp     float64          `json:"ns_per_op"`    // WallNS ÷ (Mallocs + Frees)

	// DriverOfSpan is DriverNS ÷ SpanNS: what device calls would be of the program's
	// time, were its driver as fast; 0 also without SpanNS.
	DriverOfSpan float64 `json:"driver_of_span"`

	// With Config.Apart, else 0. HitsNSPerOp is WallNS without the time in misses, for
	// each other malloc and each free. A miss is timed by the wall: on a simulated
	// device its calls take no time there, so MissP50NS is what metalloc itself takes.
	// DriverShare is DriverNS ÷ the time in all misses, to which a simulated device's
	// modelled DriverNS is added; pages given back between misses count as well.
	HitsNSPerOp float64 `json:"hits_ns_per_op"`
	MissP50NS   int64   `json:"miss_p50_ns"`
	DriverShare float64 `json:"driver_share"` // 0 to 1

	PerStream []StreamResult `json:"per_stream"` // in order of appearance

	// For comparison; nil: not known. The caller's to set.
	PyTorch *PyTorch `json:"pytorch,omitempty"`
}

// StreamResult is one stream of the file. A block belongs to the stream it was
// allocated on.
type StreamResult struct {
	Stream        uint64 `json:"stream"` // the file's handle; 0 is the default stream
	Mallocs       int64  `json:"mallocs"`
	Frees         int64  `json:"frees"`
	RequestedPeak int64  `json:"requested_peak"`
	ActivePeak    int64  `json:"active_peak"`
	ReservedPeak  int64  `json:"reserved_peak"`
	LiveEnd       int64  `json:"live_end"`
}

// PyTorch is what PyTorch's three allocators needed for the same work; zero: not
// known.
type PyTorch struct {
	Native     Peaks `json:"native,omitzero"`
	Expandable Peaks `json:"expandable,omitzero"`
	Async      Peaks `json:"async,omitzero"`
}

// Peaks of a run of its own: with several threads, runs differ a little in what
// they request at one time.
type Peaks struct {
	RequestedPeak int64 `json:"requested_peak"`
	ReservedPeak  int64 `json:"reserved_peak"`
	// DriverNS is what its calls to the device would take by the same model as
	// [Result]'s on sim; 0: not known which it made.
	DriverNS int64 `json:"driver_ns,omitempty"`
}

// fromFile fills in what the history alone tells.
func (r *Result) fromFile(h *torch.History, p plan) {
	r.Events = len(h.Events) - h.Implied
	r.Mallocs, r.Frees, r.Skipped = h.Mallocs, h.Frees, h.Skipped
	r.Streams = len(h.Streams)
	if times := timesOf(h); len(times) > 0 {
		r.SpanNS = times[len(times)-1].Nanoseconds()
	}
	r.LiveEnd, r.PendingEnd = int64(h.Live()), p.pending

	var peaks []int64
	r.RequestedPeak, peaks = h.RequestedPeaks()
	r.PerStream = make([]StreamResult, len(h.Streams))
	for i, handle := range h.Streams {
		r.PerStream[i] = StreamResult{Stream: handle, RequestedPeak: peaks[i]}
	}
	owner := make([]int32, 0, h.Mallocs) // by block
	for _, e := range h.Events {
		switch {
		case e.Block < 0:
		case e.Action == torch.Alloc:
			owner = append(owner, e.Stream)
			r.PerStream[e.Stream].Mallocs++
			r.PerStream[e.Stream].LiveEnd++
		case e.Action == torch.FreeRequested:
			r.PerStream[owner[e.Block]].Frees++
			r.PerStream[owner[e.Block]].LiveEnd--
		}
	}
}

// fromRuntime fills in what the runtime saw.
func (r *Result) fromRuntime(s telemetry.Snapshot, names []string, wallNS int64) {
	r.Device, r.PageSize, r.Segments = s.Device.Kind, s.Device.PageSize, s.Device.PageSize == 0
	r.ActivePeak, r.ReservedPeak = s.Total.Peak, s.Total.ReservedPeak
	r.ActiveEnd, r.CacheEnd, r.SlackEnd = s.Total.Active, s.Total.Cache, s.Total.Slack
	r.Misses = s.Total.Misses
	r.DeviceCalls, r.DriverNS = s.Device.Calls, s.Device.DriverNS
	r.WallNS = wallNS
	r.NSPerOp = quotient(wallNS, int64(r.Mallocs)+int64(r.Frees))
	r.Ratio = quotient(r.ReservedPeak, r.RequestedPeak)

	rows := map[string]telemetry.Figures{}
	for _, s := range s.Streams {
		rows[s.Name] = s.Figures
	}
	for i, name := range names {
		r.PerStream[i].ActivePeak = rows[name].Peak
		r.PerStream[i].ReservedPeak = rows[name].ReservedPeak
	}
}

// quotient is a ÷ b to three places, enough to compare and short to read; 0 if b
// is 0.
func quotient(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return math.Round(float64(a)/float64(b)*1000) / 1000
}

// share is a ÷ b to six places: driver time is a small part of the whole; 0 if b
// is 0.
func share(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return math.Round(float64(a)/float64(b)*1e6) / 1e6
}
