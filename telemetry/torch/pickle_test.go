package torch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// pairs is a dict to be pickled: key, value, key, value, in that order.
type pairs []any

// dump pickles v with protocol 4, without frames or memo. A []byte is written as
// it is: opcodes by hand.
func dump(v any) []byte {
	return append(write([]byte{opProto, 4}, v), opStop)
}

func write(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'N')
	case []byte:
		return append(b, v...)
	case bool:
		if v {
			return append(b, 0x88)
		}
		return append(b, 0x89)
	case int:
		return write(b, big.NewInt(int64(v)))
	case *big.Int:
		raw := twosComplement(v)
		return append(append(b, opLong1, byte(len(raw))), raw...)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'G'), math.Float64bits(v))
	case string:
		return append(binary.LittleEndian.AppendUint32(append(b, 'X'), uint32(len(v))), v...)
	case []any:
		b = append(b, opEmptyList, opMark)
		for _, item := range v {
			b = write(b, item)
		}
		return append(b, opAppends)
	case pairs:
		b = append(b, opEmptyDict, opMark)
		for _, item := range v {
			b = write(b, item)
		}
		return append(b, opSetItems)
	}
	panic("a test pickles what write doesn't know")
}

// twosComplement is the shortest little-endian form of n.
func twosComplement(n *big.Int) []byte {
	size := n.BitLen()/8 + 1
	m := new(big.Int).Set(n)
	if n.Sign() < 0 {
		m.Add(m, new(big.Int).Lsh(big.NewInt(1), uint(size)*8))
	}
	raw := m.FillBytes(make([]byte, size))
	for i, j := 0, size-1; i < j; i, j = i+1, j-1 {
		raw[i], raw[j] = raw[j], raw[i]
	}
	return raw
}

// op is an event with the fields that every PyTorch version writes.
func op(action string, addr, size, stream any) pairs {
	return pairs{"action", action, "addr", addr, "size", size, "stream", stream}
}

// snapshotOf is a snapshot with the events of each device.
func snapshotOf(devices ...[]any) pairs {
	traces := []any{}
	for _, events := range devices {
		traces = append(traces, events)
	}
	return pairs{"segments", []any{}, "device_traces", traces}
}

func readEvents(t *testing.T, events ...any) *History {
	t.Helper()
	h, err := Read(bytes.NewReader(dump(snapshotOf(events))))
	require.NoError(t, err)
	return h
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// checkHistory fails if h breaks what History promises.
func checkHistory(t testing.TB, h *History) {
	t.Helper()
	c := historyChecker{h: h, owner: map[uint64]int32{}}
	for i := range h.Events {
		if what := c.step(&h.Events[i]); what != "" {
			t.Fatalf("event %d, %+v: %s", i, h.Events[i], what)
		}
	}
	require.Equal(t, [...]int{h.Mallocs, h.Frees, h.Skipped, h.Others}, c.counts)
	require.Equal(t, bytes.Count(c.state, []byte{live}), h.Live())
}

// State of a block.
const (
	live = iota
	requested
	completed
)

type historyChecker struct {
	h      *History
	state  []byte           // of each block
	owner  map[uint64]int32 // block at an address
	counts [4]int           // mallocs, frees, skipped, others
}

// step says what is wrong with e; nothing: "".
func (c *historyChecker) step(e *Event) string {
	switch {
	case e.Size < 0:
		return "negative size"
	case int(e.Stream) >= len(c.h.Streams) || e.Stream < -1 || (e.Stream == -1) != (e.Action == Other):
		return "wrong stream"
	case e.Action == Alloc:
		return c.alloc(e)
	case e.Block >= 0:
		return c.free(e)
	case e.Block != -1:
		return "wrong block"
	case e.Action == FreeRequested || e.Action == FreeCompleted:
		c.counts[2]++
	case e.Action == Other:
		c.counts[3]++
	}
	return ""
}

func (c *historyChecker) alloc(e *Event) string {
	if int(e.Block) != len(c.state) {
		return "wrong block"
	}
	if _, taken := c.owner[e.Addr]; taken {
		return "address taken"
	}
	c.counts[0]++
	c.owner[e.Addr] = e.Block
	c.state = append(c.state, live)
	return ""
}

func (c *historyChecker) free(e *Event) string {
	if int(e.Block) >= len(c.state) {
		return "block before its alloc"
	}
	if b, ok := c.owner[e.Addr]; !ok || b != e.Block {
		return "not this block's address"
	}
	switch {
	case e.Action == FreeRequested && c.state[e.Block] == live:
		c.counts[1]++
		c.state[e.Block] = requested
	case e.Action == FreeCompleted && c.state[e.Block] == requested:
		c.state[e.Block] = completed
		delete(c.owner, e.Addr)
	default:
		return "out of turn"
	}
	return ""
}
