package torch

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

const traceFolder = "../../tests/testdata/traces"

func tracePath(name string) string { return filepath.Join(traceFolder, name+".pickle.gz") }

// traces are the real histories, with PyTorch's own figures for them: its
// requested_bytes peak, and the number of blocks in use at the end.
var traces = []struct {
	name    string
	mallocs int
	events  int
	streams int
	peak    int64
	live    int
}{
	{"train-gpt2", 34_121, 102_554, 1, 11_713_432_504, 3},
	{"decode-llama", 244_510, 733_588, 1, 1_405_592_256, 1},
	{"train-moe", 5_803, 17_475, 2, 1_000_929_236, 3},
	{"serve-4streams", 20_573, 61_777, 5, 635_594_096, 8},
}

func TestRealTraces(t *testing.T) {
	for _, want := range traces {
		t.Run(want.name, func(t *testing.T) {
			if raceDetector && want.name == "decode-llama" {
				t.Skip("733,588 events take 25 s under the race detector, and reading has one goroutine: the three small traces stand for it")
			}
			h, err := ReadFile(tracePath(want.name), nil)
			require.NoError(t, err)
			total, perStream := h.RequestedPeaks()
			require.Equal(t, want.peak, total)
			require.Len(t, perStream, want.streams)
			require.Len(t, h.Streams, want.streams)
			require.Equal(t, uint64(0), h.Streams[0])
			require.Len(t, h.Events, want.events)
			require.Equal(t, want.mallocs, h.Mallocs)
			require.Equal(t, want.live, h.Live())
			require.Equal(t, []int{0, 0, 0, 0, 0}, []int{h.Device, h.Skipped, h.Reused, h.Implied, h.Others})
			var sum int64
			for _, peak := range perStream {
				require.LessOrEqual(t, peak, total)
				sum += peak
			}
			require.GreaterOrEqual(t, sum, total)
			checkHistory(t, h)
		})
	}
}

// The files are Python's own work, see testdata/make.py.
func TestPythonPickles(t *testing.T) {
	want := &History{
		Device:  1,
		Streams: []uint64{0, 0x7F0000001230},
		Mallocs: 3, Frees: 1, Skipped: 1, Others: 3,
		Events: []Event{
			{Action: FreeCompleted, Addr: 0x7F1234009000, Size: 64, TimeUS: 100, Block: -1},
			{Action: SegmentAlloc, Addr: 0x7F1234000000, Size: 2 << 20, TimeUS: 101, Block: -1},
			{Action: Alloc, Addr: 0x7F1234000000, Size: 1000, TimeUS: 102, Block: 0},
			{Action: Other, Addr: 0x7F1234400000, Size: 2 << 20, TimeUS: 103, Block: -1, Stream: -1},
			{Action: Alloc, Addr: 0x7F1234400000, Size: 70_000, TimeUS: 104, Block: 1, Stream: 1},
			{Action: FreeRequested, Addr: 0x7F1234000000, Size: 1000, TimeUS: 105, Block: 0},
			{Action: Other, Size: 5 << 30, TimeUS: 106, Block: -1, Stream: -1},
			{Action: FreeCompleted, Addr: 0x7F1234000000, Size: 1000, TimeUS: 107, Block: 0},
			{Action: Alloc, Addr: 0x7F1234000000, Size: 500, TimeUS: 108, Block: 2},
			{Action: SegmentFree, Addr: 0x7F1234800000, Size: 2 << 20, TimeUS: 109, Block: -1},
			{Action: Other, Size: 70_500, TimeUS: 110, Block: -1, Stream: -1},
		},
	}
	checkHistory(t, want)
	for _, name := range []string{"protocol2.pickle", "protocol3.pickle", "protocol4.pickle", "protocol5.pickle", "protocol4.pickle.gz"} {
		h, err := ReadFile(filepath.Join("testdata", name), nil)
		require.NoError(t, err, name)
		require.Equal(t, want, h, name)
	}
	total, perStream := want.RequestedPeaks()
	require.Equal(t, int64(71_000), total)
	require.Equal(t, []int64{1000, 70_000}, perStream)

	_, err := ReadFile("testdata/protocol0.pickle", nil)
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "not a pickle of protocol 2 or later: it begins with \"(d")
}

func TestReadFileProgress(t *testing.T) {
	path := tracePath("train-moe")
	info, err := os.Stat(path)
	require.NoError(t, err)
	var steps []int64
	_, err = ReadFile(path, func(done, total int64) {
		require.Equal(t, info.Size(), total)
		steps = append(steps, done)
	})
	require.NoError(t, err)
	require.IsIncreasing(t, steps)
	require.Equal(t, info.Size(), steps[len(steps)-1])
	require.Greater(t, len(steps), 10)
	require.LessOrEqual(t, len(steps), 101)
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	_, err := ReadFile(filepath.Join(dir, "missing"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)

	_, err = ReadFile(file("empty", nil), func(int64, int64) {})
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "empty: malformed snapshot: empty")

	_, err = ReadFile(dir, nil)
	require.Error(t, err)
}

func TestGzip(t *testing.T) {
	good := zip(t, dump(snapshotOf([]any{op("alloc", 512, 100, 0)})))
	_, err := Read(bytes.NewReader(good))
	require.NoError(t, err)

	for n := 2; n < len(good); n++ {
		_, err := Read(bytes.NewReader(good[:n]))
		require.ErrorIs(t, err, ErrMalformed, "cut to %d bytes", n)
		require.ErrorContains(t, err, "gzip: ")
	}
	damaged := bytes.Clone(good)
	damaged[len(damaged)-8] ^= 1
	_, err = Read(bytes.NewReader(damaged))
	require.ErrorIs(t, err, ErrMalformed)
	require.ErrorContains(t, err, "checksum")

	for _, data := range []string{"\x1f\x8b\x07zzzzzzzzzzzzzz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff\xff"} {
		_, err = Read(strings.NewReader(data))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// The reader's own error comes out as it is: it says nothing about the snapshot.
func TestReaderError(t *testing.T) {
	broken := errors.New("the wire broke")
	good := zip(t, dump(snapshotOf([]any{op("alloc", 512, 100, 0)})))
	for _, head := range [][]byte{nil, good[:1], good[:5], good[:20]} {
		_, err := Read(io.MultiReader(bytes.NewReader(head), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken, "after %d bytes", len(head))
		require.NotErrorIs(t, err, ErrMalformed)
	}
}

// bomb is an endless gzip file of zeros.
type bomb struct{ member, rest []byte }

func (b *bomb) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		b.rest = b.member
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func TestGzipBombIsStopped(t *testing.T) {
	r := &countingReader{r: &bomb{member: zip(t, make([]byte, 1<<20))}, count: func(int64) {}}
	_, err := Read(r, WithMaxMemory(16<<20))
	require.ErrorIs(t, err, ErrTooLarge)
	require.EqualError(t, err, "snapshot too large: more than 16777216 bytes when decompressed")
	require.Less(t, r.n, int64(256<<10)) // 16 MiB of zeros are 16 KiB of gzip, and some is read ahead
}

func TestMaxMemory(t *testing.T) {
	events := make([]any, 1000)
	for i := range events {
		events[i] = op("alloc", 512*i, 100, 0)
	}
	data := dump(snapshotOf(events))
	for _, in := range [][]byte{data, zip(t, data)} {
		_, err := Read(bytes.NewReader(in), WithMaxMemory(int64(len(data)-1)))
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "when decompressed")
		_, err = Read(bytes.NewReader(in), WithMaxMemory(int64(len(data))))
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorContains(t, err, "its values would take more than")
		_, err = Read(bytes.NewReader(in), WithMaxMemory(int64(20*len(data))))
		require.NoError(t, err)
	}
	for _, n := range []int64{0, 1<<63 - 1} {
		_, err := Read(bytes.NewReader(data), WithMaxMemory(n))
		require.NoError(t, err)
	}
	_, err := Read(bytes.NewReader(data), WithMaxMemory(-5))
	require.EqualError(t, err, "most memory to use is -5 bytes, want 0 or more")
}
