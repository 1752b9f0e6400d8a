package host

import (
	"encoding/json"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// TestHints: each thing that is missing is named with its remedy, and nothing else.
func TestHints(t *testing.T) {
	good := Report{
		MemTotal: 16 * gib, MemAvailable: 8 * gib,
		Cgroup:    Cgroup{"v2", "/", 4 * gib, -1, 1},
		Memlock:   Memlock{Limit: -1},
		HugePages: "madvise", Pressure: "triggers",
	}
	require.Empty(t, good.hints())
	for name, c := range map[string]struct {
		change func(*Report)
		want   string // in the only hint; "": none
	}{
		"no meminfo":             {func(r *Report) { r.MemTotal, r.MemAvailable = -1, -1 }, "mount /proc"},
		"no group":               {func(r *Report) { r.Cgroup.Kind = "" }, "WithMemory"},
		"throttled":              {func(r *Report) { r.Cgroup.High = 3 * gib }, "memory.high"},
		"throttled behind limit": {func(r *Report) { r.Cgroup.High = 5 * gib }, ""},
		"throttled, no limit":    {func(r *Report) { r.Cgroup.High, r.Cgroup.Limit = 5*gib, -1 }, "memory.high"},
		"memlock":                {func(r *Report) { r.Memlock.Limit = 8 << 20 }, "ulimit -l"},
		"memlock, capable":       {func(r *Report) { r.Memlock = Memlock{8 << 20, 0, true} }, ""},
		"memlock, enough":        {func(r *Report) { r.Memlock.Limit = 16 * gib }, ""},
		"huge pages off":         {func(r *Report) { r.HugePages = "never" }, "echo madvise"},
		"no huge pages":          {func(r *Report) { r.HugePages = "" }, "WithHugePages does nothing"},
		"no triggers":            {func(r *Report) { r.Pressure = "averages" }, "CAP_SYS_RESOURCE"},
		"no pressure":            {func(r *Report) { r.Pressure = "" }, "psi=1"},
	} {
		r := good
		c.change(&r)
		hints := r.hints()
		if c.want == "" {
			require.Empty(t, hints, name)
			continue
		}
		require.Len(t, hints, 1, name)
		require.Contains(t, hints[0], c.want, name)
	}
}

func TestHugePages(t *testing.T) {
	for text, want := range map[string]string{
		"always [madvise] never\n": "madvise",
		"[always] madvise never\n": "always",
		"always madvise [never]\n": "never",
		"always madvise never":     "",
		"[always":                  "",
		"":                         "",
	} {
		require.Equal(t, want, hugePages(fstest.MapFS{
			"sys/kernel/mm/transparent_hugepage/enabled": {Data: []byte(text)},
		}), "%q", text)
	}
	require.Empty(t, hugePages(fstest.MapFS{}))
}

func TestReportOfNothing(t *testing.T) {
	r := readReport(os.DirFS("testdata/does-not-exist"), Memlock{Limit: 5, Used: -1}, "")
	require.EqualValues(t, -1, r.MemTotal)
	require.EqualValues(t, -1, r.MemAvailable)
	require.Len(t, r.Hints, 5)
}

// TestExamine: this machine, whatever it is.
func TestExamine(t *testing.T) {
	r := Examine()
	d, err := Open()
	require.NoError(t, err)
	if r.MemTotal >= 0 {
		require.LessOrEqual(t, d.Info().Memory, r.MemTotal)
	}
	if r.Cgroup.Limit >= 0 {
		require.LessOrEqual(t, d.Info().Memory, r.Cgroup.Limit)
	}
	require.NoError(t, d.Close())
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(text), "null")
	t.Logf("%s", text)
}
