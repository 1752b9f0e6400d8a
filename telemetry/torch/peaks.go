package torch

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The allocators of PyTorch that [Peaks] are known of.
const (
	Native     = "native"     // the default
	Expandable = "expandable" // expandable_segments:True
	Async      = "async"      // backend:cudaMallocAsync
)

// Peaks is what one of PyTorch's allocators needed for one piece of work, by its
// own statistics; bytes. 0 also stands for what that allocator doesn't count:
// Async has neither Requested nor DeviceAllocs.
type Peaks struct {
	Reserved  int64 // most taken from the device at one time
	Allocated int64 // most in blocks that the program held, rounded up
	Active    int64 // Allocated, and blocks that queued work still used
	Requested int64 // most that the program asked for, not rounded

	DeviceAllocs int64  // calls to the device for memory (num_device_alloc)
	DeviceFrees  int64  // calls that gave memory back to it (num_device_free); 0 also where the file doesn't say
	Torch        string // PyTorch's version
	Device       string // the GPU's name
}

// TraceName is the name that a trace file has in [ReadPeaks]: its base name
// without ".gz" and ".pickle".
func TraceName(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".pickle")
}

// ReadPeaks reads a file of JSON objects, one a line, that say what PyTorch's
// allocators needed: peaks by the trace's name, then by the allocator. Lines
// without "name" and "mode" are other measurements and are passed over. Errors
// name the line.
func ReadPeaks(path string) (map[string]map[string]Peaks, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	peaks, err := parsePeaks(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return peaks, nil
}

// maxLine is far above the 600 bytes of a line that PyTorch's statistics make.
const maxLine = 1 << 20

func parsePeaks(r io.Reader) (map[string]map[string]Peaks, error) {
	peaks := map[string]map[string]Peaks{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var row peaksRow
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if row.Name == "" || row.Mode == "" {
			continue
		}
		if err := row.check(); err != nil {
			return nil, fmt.Errorf("line %d: %s, %s: %w", n, row.Name, row.Mode, err)
		}
		if _, ok := peaks[row.Name][row.Mode]; ok {
			return nil, fmt.Errorf("line %d: %s, %s: given before", n, row.Name, row.Mode)
		}
		if peaks[row.Name] == nil {
			peaks[row.Name] = map[string]Peaks{}
		}
		peaks[row.Name][row.Mode] = row.peaks()
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n, err)
	}
	return peaks, nil
}

// peaksRow is a line of the file. The keys are those of torch.cuda.memory_stats.
type peaksRow struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Torch  string `json:"torch"`
	Device string `json:"device"`

	Reserved     *int64 `json:"reserved_bytes.all.peak"`
	Allocated    *int64 `json:"allocated_bytes.all.peak"`
	Active       *int64 `json:"active_bytes.all.peak"`
	Requested    *int64 `json:"requested_bytes.all.peak"`
	DeviceAllocs *int64 `json:"num_device_alloc"`
	DeviceFrees  int64  `json:"num_device_free"`
}

func (r *peaksRow) check() error {
	for _, f := range []struct {
		key   string
		value *int64
	}{
		{"reserved_bytes.all.peak", r.Reserved},
		{"allocated_bytes.all.peak", r.Allocated},
		{"active_bytes.all.peak", r.Active},
		{"requested_bytes.all.peak", r.Requested},
		{"num_device_alloc", r.DeviceAllocs},
	} {
		if f.value == nil {
			return fmt.Errorf("no %s", f.key)
		}
		if *f.value < 0 {
			return fmt.Errorf("%s is %d, want 0 or more", f.key, *f.value)
		}
	}
	if r.DeviceFrees < 0 {
		return fmt.Errorf("num_device_free is %d, want 0 or more", r.DeviceFrees)
	}
	return nil
}

func (r *peaksRow) peaks() Peaks {
	return Peaks{
		Reserved: *r.Reserved, Allocated: *r.Allocated, Active: *r.Active, Requested: *r.Requested,
		DeviceAllocs: *r.DeviceAllocs, DeviceFrees: r.DeviceFrees, Torch: r.Torch, Device: r.Device,
	}
}
