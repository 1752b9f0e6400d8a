package torch

import (
	"bytes"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestWrongShapes(t *testing.T) {
	power := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
	alloc := op("alloc", 512, 1, 0)
	event := func(e ...any) pairs { return snapshotOf([]any{alloc, pairs(e)}) }
	const at = "device 0, event 1: malformed snapshot: "
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{"a list", []any{1}, "malformed snapshot: the pickle is a list of 1, want the snapshot's dict"},
		{"a string", "hello", `malformed snapshot: the pickle is the str "hello", want`},
		{"None", nil, "malformed snapshot: the pickle is nothing, want"},
		{"no traces", pairs{"segments", []any{}}, "malformed snapshot: device_traces is nothing, want a list"},
		{"traces are a dict", pairs{"device_traces", pairs{}}, "device_traces is a dict, want a list"},
		{"traces are a tuple", pairs{"device_traces", []byte{')'}}, "device_traces is a tuple of 0, want a list"},
		{"a trace is an int", pairs{"device_traces", []any{[]any{}, 7}}, "device_traces[1] is the int 7, want a list of events"},
		{"an event is a list", snapshotOf([]any{alloc, []any{}}), at + "a list of 0, want a dict"},
		{"an event is bytes", snapshotOf([]any{alloc, []byte("C\x01x")}), at + "bytes, want a dict"},
		{"an event is empty", event(), at + "action is nothing, want a str"},
		{"action is an int", event("action", 1), at + "action is the int 1, want a str"},
		{"no addr", event("action", "alloc", "size", 1, "stream", 0), at + "addr is nothing, want an int"},
		{"no size", event("action", "alloc", "addr", 1, "stream", 0), at + "size is nothing, want an int"},
		{"no stream", event("action", "alloc", "addr", 1, "size", 1), at + "stream is nothing, want an int"},
		{"float size", snapshotOf([]any{alloc, op("alloc", 1, 2.5, 0)}), at + "size is the float 2.5, want an int"},
		{"negative size", snapshotOf([]any{alloc, op("alloc", 1, -1, 0)}), at + "size is -1, want 0 or more"},
		{"huge size", snapshotOf([]any{alloc, op("alloc", 1, power(63), 0)}), at + "size is an int of 64 bits, want at most 63"},
		{"bool size", snapshotOf([]any{alloc, op("free_completed", 1, true, 0)}), at + "size is the bool true, want an int"},
		{"sizes overflow", snapshotOf([]any{alloc, op("alloc", 1, math.MaxInt64, 0)}), at + "size 9223372036854775807: more than 2^63 bytes are live"},
		{"addr is a str", snapshotOf([]any{alloc, op("alloc", "0x10", 1, 0)}), at + `addr is the str "0x10", want an int`},
		{"negative addr", snapshotOf([]any{alloc, op("alloc", -1, 1, 0)}), at + "addr is -1, want 0 or more"},
		{"huge addr", snapshotOf([]any{alloc, op("alloc", power(64), 1, 0)}), at + "addr is an int of 65 bits"},
		{"stream is a str", snapshotOf([]any{alloc, op("segment_alloc", 1, 1, "default")}), at + `stream is the str "default", want an int`},
		{"huge stream", snapshotOf([]any{alloc, op("alloc", 1, 1, power(64))}), at + "stream is an int of 65 bits"},
		{"huge negative stream", snapshotOf([]any{alloc, op("alloc", 1, 1, new(big.Int).Neg(power(80)))}), at + "stream is an int of 81 bits"},
		{"float time", event("action", "oom", "time_us", 1.5), at + "time_us is the float 1.5, want an int"},
		{"size of an unknown action", event("action", "oom", "size", -3), at + "size is -3, want 0 or more"},
		{"addr of an unknown action", event("action", "oom", "addr", "x"), at + `addr is the str "x", want an int`},
		{"long string", string(bytes.Repeat([]byte("é"), 1000)), "the pickle is the str"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := Read(bytes.NewReader(dump(c.v)))
			require.Nil(t, h)
			require.ErrorIs(t, err, ErrMalformed)
			require.ErrorContains(t, err, c.want)
			require.Less(t, len(err.Error()), 200)
		})
	}
}

// A list may hold itself, and a dict be an event many times over.
func TestSharedValues(t *testing.T) {
	_, err := Read(bytes.NewReader(dump(pairs{"device_traces", []byte("]\x94h\x00a")})))
	require.ErrorContains(t, err, "device 0, event 0: malformed snapshot: a list of 1, want a dict")

	once := append(write(nil, op("alloc", 512, 8, 0)), opMemoize)
	h := readEvents(t, once, []byte("h\x00"), []byte("h\x00"))
	checkHistory(t, h)
	require.Equal(t, []int{3, 2, 4}, []int{h.Mallocs, h.Reused, h.Implied})
}

func TestWideNumbers(t *testing.T) {
	top := new(big.Int).SetUint64(math.MaxUint64)
	h := readEvents(t, op("alloc", top, math.MaxInt64, top), op("free_requested", top, 0, -1), op("segment_alloc", 0, 0, math.MinInt64))
	require.Equal(t, []uint64{math.MaxUint64, 1 << 63}, h.Streams)
	require.Equal(t, Event{Action: Alloc, Addr: math.MaxUint64, Size: math.MaxInt64}, h.Events[0])
	require.Equal(t, int32(0), h.Events[1].Block)
	total, _ := h.RequestedPeaks()
	require.Equal(t, int64(math.MaxInt64), total)
}

func TestDevices(t *testing.T) {
	a, b := []any{op("alloc", 512, 1, 0)}, []any{op("alloc", 512, 2, 0)}
	one := dump(snapshotOf(nil, b, nil))
	two := dump(snapshotOf(a, nil, b))
	none := dump(snapshotOf(nil, nil))
	for _, c := range []struct {
		name   string
		data   []byte
		opts   []Option
		device int
		size   int64 // of the first event; 0: no event
		want   string
	}{
		{"the only one", one, nil, 1, 2, ""},
		{"chosen", two, []Option{WithDevice(2)}, 2, 2, ""},
		{"the last choice counts", two, []Option{WithDevice(2), WithDevice(0)}, 0, 1, ""},
		{"chosen, without events", two, []Option{WithDevice(1)}, 1, 0, ""},
		{"several", two, nil, 0, 0, "which device: devices 0, 2 have events, choose one"},
		{"none", none, nil, 0, 0, "which device: none of the snapshot's 2 has events; was the history recorded?"},
		{"not there", two, []Option{WithDevice(3)}, 0, 0, "which device: asked for device 3, the snapshot has 3"},
		{"negative", two, []Option{WithDevice(-1)}, 0, 0, "which device: -1, want 0 or more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := Read(bytes.NewReader(c.data), c.opts...)
			if c.want != "" {
				require.ErrorIs(t, err, ErrDevice)
				require.EqualError(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.device, h.Device)
			if c.size == 0 {
				require.Empty(t, h.Events)
				return
			}
			require.Equal(t, c.size, h.Events[0].Size)
		})
	}
}

func TestPairing(t *testing.T) {
	type step struct {
		action Action
		addr   uint64
		size   int64
		block  int32
	}
	for _, c := range []struct {
		name                          string
		in                            []any
		out                           []step
		live, skipped, reused, others int
		implied                       int
		peak                          int64
	}{
		{
			name: "a free without its alloc",
			in:   []any{op("free_requested", 512, 9, 0), op("free_completed", 512, 9, 0), op("alloc", 512, 5, 0)},
			out:  []step{{FreeRequested, 512, 9, -1}, {FreeCompleted, 512, 9, -1}, {Alloc, 512, 5, 0}},
			live: 1, skipped: 2, peak: 5,
		},
		{
			name: "freed twice",
			in: []any{
				op("alloc", 512, 5, 0), op("free_requested", 512, 5, 0), op("free_requested", 512, 5, 0),
				op("free_completed", 512, 5, 0), op("free_completed", 512, 5, 0),
			},
			out: []step{
				{Alloc, 512, 5, 0},
				{FreeRequested, 512, 5, 0},
				{FreeRequested, 512, 5, -1},
				{FreeCompleted, 512, 5, 0},
				{FreeCompleted, 512, 5, -1},
			},
			skipped: 2, peak: 5,
		},
		{
			name:    "completed without a request",
			in:      []any{op("alloc", 512, 5, 0), op("free_completed", 512, 5, 0)},
			out:     []step{{Alloc, 512, 5, 0}, {FreeRequested, 512, 5, 0}, {FreeCompleted, 512, 5, 0}},
			implied: 1, peak: 5,
		},
		{
			name: "a live address handed out again",
			in:   []any{op("alloc", 512, 5, 0), op("alloc", 512, 7, 0), op("free_requested", 512, 7, 0)},
			out: []step{
				{Alloc, 512, 5, 0},
				{FreeRequested, 512, 5, 0},
				{FreeCompleted, 512, 5, 0},
				{Alloc, 512, 7, 1},
				{FreeRequested, 512, 7, 1},
			},
			reused: 1, implied: 2, peak: 7,
		},
		{
			name: "the same, its free requested before",
			in:   []any{op("alloc", 512, 5, 0), op("free_requested", 512, 5, 0), op("alloc", 512, 7, 0)},
			out:  []step{{Alloc, 512, 5, 0}, {FreeRequested, 512, 5, 0}, {FreeCompleted, 512, 5, 0}, {Alloc, 512, 7, 1}},
			live: 1, reused: 1, implied: 1, peak: 7,
		},
		{
			name: "a block counts until completed",
			in: []any{
				op("alloc", 512, 5, 0), op("free_requested", 512, 5, 0), op("alloc", 1024, 7, 0),
				op("free_completed", 512, 5, 0), op("alloc", 512, 1, 0),
			},
			out: []step{
				{Alloc, 512, 5, 0},
				{FreeRequested, 512, 5, 0},
				{Alloc, 1024, 7, 1},
				{FreeCompleted, 512, 5, 0},
				{Alloc, 512, 1, 2},
			},
			live: 2, peak: 12,
		},
		{
			name:   "unknown actions",
			in:     []any{pairs{"action", "free"}, pairs{"action", "oom", "device_free", 3, "size", 4}, pairs{"action", ""}},
			out:    []step{{Other, 0, 0, -1}, {Other, 0, 4, -1}, {Other, 0, 0, -1}},
			others: 3,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := readEvents(t, c.in...)
			checkHistory(t, h)
			var out []step
			for _, e := range h.Events {
				out = append(out, step{e.Action, e.Addr, e.Size, e.Block})
			}
			require.Equal(t, c.out, out)
			require.Equal(t, []int{c.live, c.skipped, c.reused, c.implied, c.others},
				[]int{h.Live(), h.Skipped, h.Reused, h.Implied, h.Others})
			total, _ := h.RequestedPeaks()
			require.Equal(t, c.peak, total)
		})
	}
}

// Random histories, sound and not, against a map from address to size.
func TestAgainstModel(t *testing.T) {
	names := []string{"alloc", "free_requested", "free_completed", "segment_alloc", "oom"}
	rapid.Check(t, func(rt *rapid.T) {
		type block struct {
			size      int64
			stream    int
			requested bool
		}
		held := map[int]block{}
		var events []any
		var mallocs, skipped, reused int
		var sum, peak int64
		perStream := map[uint64][2]int64{} // now, peak
		count := func(stream int, n int64) {
			sum += n
			peak = max(peak, sum)
			s := perStream[uint64(stream)]
			s[0] += n
			s[1] = max(s[1], s[0])
			perStream[uint64(stream)] = s
		}
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			name := rapid.SampledFrom(names).Draw(rt, "action")
			addr := rapid.IntRange(0, 4).Draw(rt, "addr")
			size := rapid.Int64Range(0, 1000).Draw(rt, "size")
			stream := rapid.IntRange(0, 2).Draw(rt, "stream")
			events = append(events, op(name, addr, int(size), stream))
			old, ok := held[addr]
			switch name {
			case "alloc":
				mallocs++
				if ok {
					reused++
					count(old.stream, -old.size)
				}
				held[addr] = block{size: size, stream: stream}
				count(stream, size)
			case "free_requested":
				if !ok || old.requested {
					skipped++
					break
				}
				old.requested = true
				held[addr] = old
			case "free_completed":
				if !ok {
					skipped++
					break
				}
				count(old.stream, -old.size)
				delete(held, addr)
			}
		}
		h, err := Read(bytes.NewReader(dump(snapshotOf(events))))
		require.NoError(rt, err)
		checkHistory(t, h)
		require.Equal(rt, []int{mallocs, skipped, reused}, []int{h.Mallocs, h.Skipped, h.Reused})
		total, each := h.RequestedPeaks()
		require.Equal(rt, peak, total)
		for i, handle := range h.Streams {
			require.Equal(rt, perStream[handle][1], each[i])
		}
	})
}

// A History that a program made by hand may be anything, and still not panic.
func TestPeaksOfStrangeHistory(t *testing.T) {
	h := &History{Mallocs: -1, Streams: []uint64{0}, Events: []Event{
		{Action: Alloc, Stream: 7, Size: 1},
		{Action: Alloc, Stream: -1, Size: 2},
		{Action: FreeCompleted, Block: 9},
		{Action: FreeCompleted, Block: -1},
		{Action: 99},
		{Action: Alloc, Size: 4},
	}}
	total, perStream := h.RequestedPeaks()
	require.Equal(t, int64(4), total)
	require.Equal(t, []int64{4}, perStream)

	total, perStream = new(History).RequestedPeaks()
	require.Zero(t, total)
	require.Empty(t, perStream)
}

func TestActionString(t *testing.T) {
	for name, action := range actions {
		require.Equal(t, name, action.String())
	}
	require.Equal(t, "other", Other.String())
	require.Equal(t, "invalid", Action(77).String())
}
