package main

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/metal"
	"github.com/metalloc/metalloc/metal/host"
	"github.com/metalloc/metalloc/metal/sim"
)

func TestDevicesJSON(t *testing.T) {
	stdout, stderr, code := metalloc(t, "devices", "--json")
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	var devices []deviceReport
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&devices))
	var kinds []string
	for _, d := range devices {
		kinds = append(kinds, d.Kind)
	}
	require.Equal(t, []string{"host", "sim", "cuda", "metal"}, kinds)

	h := devices[0]
	require.Equal(t, ready, h.State)
	require.Positive(t, h.Memory)
	require.Positive(t, h.Available)
	require.LessOrEqual(t, h.WorkingSet, h.Memory)
	require.Equal(t, h.Memory, h.MaxBuffer)
	require.Equal(t, host.Examine().Memlock, h.Host.Memlock)
	require.Subset(t, h.Missing, h.Host.Hints)
	require.Equal(t, runtime.GOOS == "linux", h.PageSize > 0)

	s := devices[1]
	require.Equal(t, []int64{80 << 30, 80 << 30, 76 << 30, 2 << 20}, []int64{s.Memory, s.Available, s.WorkingSet, s.PageSize})
	require.Equal(t, []string{"map pages", "take segments", "wire", "tell of pressure", "mark queues"}, s.Can)
	require.Empty(t, s.Missing)
	for _, d := range devices[2:] {
		require.NotEqual(t, ready, d.State)
		require.Zero(t, d.Memory)
	}
}

func TestDevicesText(t *testing.T) {
	stdout, stderr, code := metalloc(t, "devices")
	require.Zero(t, code, stderr)
	requireFits(t, stdout, defaultWidth)
	for _, want := range []string{"host: ready\n", "RLIMIT_MEMLOCK", "cgroup", "sim: ready\n", "cuda: ", "metal: "} {
		require.Contains(t, stdout, want)
	}
}

// What a poor machine looks like.
func TestRenderDevices(t *testing.T) {
	text := renderDevices([]deviceReport{
		{
			Kind: "host", State: ready, Name: "a name",
			Memory: 1 << 30, Available: 1 << 20, WorkingSet: 3 << 28, MaxBuffer: 1 << 30,
			Missing: []string{strings.Repeat("do this and that ", 20)},
			Host: &host.Report{
				Cgroup:  host.Cgroup{Kind: "v2", Path: "/a/b", Limit: 1 << 30, High: -1, Usage: -1},
				Memlock: host.Memlock{Limit: 65536, Used: -1},
			},
		},
		{Kind: "sim", State: failed, Missing: []string{"no luck"}},
	}, defaultWidth)
	requireFits(t, text, defaultWidth)
	for _, want := range []string{
		"1.000 GiB, of it available 1.000 MiB\n", "none: whole segments only\n", "RLIMIT_MEMLOCK = 65536 bytes, without CAP_IPC_LOCK\n",
		"v2 /a/b: limit 1.000 GiB, high none, used unknown\n", "can't be watched\n",
		"\n\nsim: failed\n  missing        no luck\n",
	} {
		require.Contains(t, text, want)
	}
}

// unwell is a device that opens and then fails.
type unwell struct{ *sim.Device }

func (unwell) Usage() (metal.Usage, error) { return metal.Usage{}, errors.New("can't count") }
func (unwell) Close() error                { return errors.New("can't close") }

func TestReportOfFailure(t *testing.T) {
	r := reportOf("sim", func() (metal.Device, error) { return nil, errors.New("can't open") })
	require.Equal(t, failed, r.State)
	require.Equal(t, []string{"can't open"}, r.Missing)
	dev, err := sim.New(sim.Config{})
	require.NoError(t, err)
	r = reportOf("sim", func() (metal.Device, error) { return unwell{dev}, nil })
	require.Equal(t, failed, r.State)
	require.Equal(t, []string{"can't count\ncan't close"}, r.Missing)
}

func TestCUDA(t *testing.T) {
	there := &fstest.MapFile{}
	ldconf := &fstest.MapFile{Data: []byte("# nothing\ninclude /etc/more\n /opt/nvidia/lib \n\nrelative\n")}
	for name, c := range map[string]struct {
		machine machine
		state   string
		name    string
		missing []string
	}{
		"nothing": {
			machine{os: "linux", arch: "amd64", libraryPath: "/x:/x/:relative:", root: fstest.MapFS{"etc/ld.so.conf.d/a.conf": ldconf}},
			notBuiltIn, "NVIDIA GPU",
			[]string{
				"no libcuda.so.1 in /x, /opt/nvidia/lib, /lib/x86_64-linux-gnu, /usr/lib/x86_64-linux-gnu, /lib64, /usr/lib64, /lib, /usr/lib, /usr/lib/wsl/lib: ",
				"no /dev/nvidiactl",
			},
		},
		"all there": {
			machine{os: "linux", arch: "arm64", root: fstest.MapFS{"usr/lib/aarch64-linux-gnu/libcuda.so.1": there, "dev/nvidiactl": there}},
			notBuiltIn, "NVIDIA GPU, driver library /usr/lib/aarch64-linux-gnu/libcuda.so.1", nil,
		},
		"library found by configuration, no device": {
			machine{os: "linux", arch: "riscv64", root: fstest.MapFS{"etc/ld.so.conf": ldconf, "opt/nvidia/lib/libcuda.so.1": there}},
			notBuiltIn, "NVIDIA GPU, driver library /opt/nvidia/lib/libcuda.so.1",
			[]string{"no /dev/nvidiactl"},
		},
		"Windows' Linux": {
			machine{os: "linux", arch: "amd64", root: fstest.MapFS{"usr/lib/wsl/lib/libcuda.so.1": there, "dev/dxg": there}},
			notBuiltIn, "NVIDIA GPU, driver library /usr/lib/wsl/lib/libcuda.so.1", nil,
		},
		"Windows": {
			machine{os: "windows", arch: "amd64", root: fstest.MapFS{}},
			notBuiltIn, "NVIDIA GPU",
			[]string{`no \Windows\System32\nvcuda.dll`},
		},
		"Windows with it": {
			machine{os: "windows", arch: "amd64", root: fstest.MapFS{"Windows/System32/nvcuda.dll": there}},
			notBuiltIn, "NVIDIA GPU", nil,
		},
		"macOS": {
			machine{os: "darwin", arch: "arm64", root: fstest.MapFS{}},
			notHere, "NVIDIA GPU",
			[]string{"CUDA needs Linux or Windows with an NVIDIA GPU; this is darwin/arm64"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := cudaReport(c.machine)
			require.Equal(t, []string{c.state, c.name}, []string{r.State, r.Name})
			require.Len(t, r.Missing, len(c.missing))
			for i, want := range c.missing {
				require.Contains(t, r.Missing[i], want)
			}
		})
	}
}

func TestMetal(t *testing.T) {
	r := metalReport(machine{os: "darwin", arch: "arm64"})
	require.Equal(t, notBuiltIn, r.State)
	require.Empty(t, r.Missing)
	r = metalReport(machine{os: "darwin", arch: "amd64"})
	require.Equal(t, notHere, r.State)
	require.Equal(t, []string{"Metal needs macOS on Apple silicon; this is darwin/amd64"}, r.Missing)
}
