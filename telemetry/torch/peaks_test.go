package torch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadPeaks(t *testing.T) {
	peaks, err := ReadPeaks(filepath.Join(traceFolder, "peaks.jsonl"))
	require.NoError(t, err)
	require.Len(t, peaks, len(traces))
	for _, trace := range traces {
		of := peaks[TraceName(tracePath(trace.name))]
		require.Len(t, of, 3, trace.name)
		require.Equal(t, trace.peak, of[Native].Requested) // the history is of the native run
		for mode, p := range of {
			require.GreaterOrEqual(t, p.Reserved, p.Allocated, "%s %s", trace.name, mode)
			require.GreaterOrEqual(t, p.Active, p.Allocated, "%s %s", trace.name, mode)
			require.Positive(t, p.Allocated, "%s %s", trace.name, mode)
		}
	}
	require.Equal(t, Peaks{
		Reserved: 2277507072, Allocated: 639440896, Active: 639440896, Requested: 635594096,
		DeviceAllocs: 76, DeviceFrees: 1, Torch: "2.11.0+cu130", Device: "NVIDIA H100 80GB HBM3",
	}, peaks["serve-4streams"][Native])
	require.Equal(t, int64(1505755136), peaks["decode-llama"][Expandable].Reserved)
	require.Equal(t, int64(64), peaks["decode-llama"][Expandable].DeviceAllocs)
	require.Equal(t, Peaks{
		Reserved: 11911823360, Allocated: 11713432504, Active: 11713432504,
		Torch: "2.11.0+cu130", Device: "NVIDIA H100 80GB HBM3",
	}, peaks["train-gpt2"][Async])
}

func TestTraceName(t *testing.T) {
	for path, want := range map[string]string{
		"a/b/train-moe.pickle.gz": "train-moe", "train-moe.pickle": "train-moe", "x.gz": "x", "plain": "plain", "v1.2.pickle": "v1.2",
	} {
		require.Equal(t, want, TraceName(path))
	}
}

const goodRow = `{"name":"n","mode":"native","reserved_bytes.all.peak":4,"allocated_bytes.all.peak":3,` +
	`"active_bytes.all.peak":3,"requested_bytes.all.peak":2,"num_device_alloc":1}`

func TestParsePeaks(t *testing.T) {
	peaks, err := parsePeaks(strings.NewReader("\n" + goodRow + "\n\r\n{\"peer\":\"vmm\",\"size\":1}\n{\"name\":\"only\"}"))
	require.NoError(t, err)
	require.Equal(t, map[string]map[string]Peaks{"n": {"native": {Reserved: 4, Allocated: 3, Active: 3, Requested: 2, DeviceAllocs: 1}}}, peaks)

	for _, c := range []struct{ name, row, want string }{
		{"no json", "reserved 12", "line 2: invalid character"},
		{"cut", goodRow[:30], "line 2: unexpected end of JSON input"},
		{"a list", "[1]", "line 2: json: cannot unmarshal array"},
		{"a float", strings.Replace(goodRow, ":4,", ":4.5,", 1), "line 2: json: cannot unmarshal number 4.5"},
		{"overflow", strings.Replace(goodRow, ":4,", ":9223372036854775808,", 1), "line 2: json: cannot unmarshal number"},
		{"negative", strings.Replace(strings.Replace(goodRow, ":4,", ":-4,", 1), `"n"`, `"m"`, 1), "line 2: m, native: reserved_bytes.all.peak is -4, want 0 or more"},
		{"negative frees", strings.Replace(goodRow, "}", `,"num_device_free":-1}`, 1), "line 2: n, native: num_device_free is -1, want 0 or more"},
		{"missing", strings.Replace(goodRow, "num_device_alloc", "num", 1), "line 2: n, native: no num_device_alloc"},
		{"twice", goodRow, "line 2: n, native: given before"},
		{"too long", strings.Repeat("x", maxLine+1), "line 2: bufio.Scanner: token too long"},
	} {
		_, err := parsePeaks(strings.NewReader(goodRow + "\n" + c.row + "\n"))
		require.ErrorContains(t, err, c.want, c.name)
	}
}

func TestReadPeaksErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peaks.jsonl")
	_, err := ReadPeaks(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("{\n"), 0o600))
	_, err = ReadPeaks(path)
	require.ErrorContains(t, err, "peaks.jsonl: line 1: ")
}
