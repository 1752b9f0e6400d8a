package host

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

const gib = 1 << 30

// TestFixtures reads machines kept in testdata. All but the broken ones have 16 GiB
// of which 8 are available.
func TestFixtures(t *testing.T) {
	none := Cgroup{Limit: -1, High: -1, Usage: -1}
	for _, c := range []struct {
		dir          string
		cgroup       Cgroup
		memory, high int64 // limits; high 0: none
		room         int64
		unified      string
	}{
		{
			"v2",
			Cgroup{"v2", "/work.slice/job 1.scope", 4 * gib, 2 * gib, 2 * gib},
			4 * gib, 2 * gib, 4*gib - (3*gib - gib/2), "sys/fs/cgroup/work.slice/job 1.scope",
		},
		{
			"v2-namespace",
			Cgroup{"v2", "/", 2 * gib, -1, gib},
			2 * gib, 0, gib, "sys/fs/cgroup",
		},
		{
			"v2-outside",
			Cgroup{"v2", "/../neighbour", 3 * gib, -1, gib},
			3 * gib, 0, 2 * gib, "sys/fs/cgroup",
		},
		{
			"v2-bind",
			Cgroup{"v2", "/system.slice/box.service/app", 5 * gib, -1, 4096},
			5 * gib, 0, 4 * gib, "cg roup/app",
		},
		{
			"v1",
			Cgroup{"v1", "/docker/abc", gib, -1, gib * 3 / 4},
			gib, 0, gib / 2, "",
		},
		{
			"v1-unlimited",
			Cgroup{"v1", "/docker/abc", -1, -1, gib},
			16 * gib, 0, 8 * gib, "",
		},
		{
			"hybrid",
			Cgroup{"hybrid", "/api/1234", 7 * gib, -1, gib},
			7 * gib, 0, gib, "sys/fs/cgroup/unified/unit",
		},
		{"no-cgroup", none, 16 * gib, 0, 8 * gib, ""},
		{"garbage", none, 0, 0, noLimit, ""},
		{
			"garbage-files",
			Cgroup{"v2", "/a", -1, -1, -1},
			16 * gib, 0, 8 * gib, "sys/fs/cgroup/a",
		},
		{"does-not-exist", none, 0, 0, noLimit, ""},
	} {
		t.Run(c.dir, func(t *testing.T) {
			root := os.DirFS("testdata/" + c.dir)
			group := findCgroup(root)
			if c.high == 0 {
				c.high = noLimit
			}
			require.Equal(t, limits{c.memory, c.high}, readLimits(root, group))
			require.Equal(t, c.room, readRoom(root, group))
			require.Equal(t, c.unified, group.unified)
			require.Equal(t, c.cgroup, readReport(root, Memlock{}, "").Cgroup)
		})
	}
}

// TestFullGroup: more used than is allowed, as after the limit was lowered.
func TestFullGroup(t *testing.T) {
	root := os.DirFS("testdata/v1")
	group := findCgroup(root)
	group.files.inactive = "none such"
	require.EqualValues(t, gib/4, group.room(root), "without what can be reclaimed")
	group.files.limit = "memory.stat" // no number: no limit
	require.EqualValues(t, noLimit, group.room(root))

	full := fstest.MapFS{
		"g/memory.max":     {Data: []byte("1000\n")},
		"g/memory.current": {Data: []byte("1001\n")},
	}
	require.Zero(t, cgroup{files: v2Files, dirs: []string{"g"}}.room(full))
	full["g/memory.stat"] = &fstest.MapFile{Data: []byte("inactive_file 5000")} // read a moment later
	require.EqualValues(t, 1000, cgroup{files: v2Files, dirs: []string{"g"}}.room(full))
}

func TestMeminfo(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal: 5 kB\n":                     5 << 10,
		"MemTotal:\t5 kB":                      5 << 10,
		"A: 1 kB\nMemTotal:  7 kB\nB: 2 kB\n":  7 << 10,
		"MemTotalX: 5 kB\n":                    -1,
		"":                                     -1,
		"MemTotal:":                            -1,
		"MemTotal: -5 kB":                      -1,
		"MemTotal: 9223372036854775807 kB":     -1,
		"MemTotal: 99999999999999999999999 kB": -1,
	} {
		require.Equal(t, want, memTotal(fstest.MapFS{"proc/meminfo": {Data: []byte(text)}}), "%q", text)
	}
	require.EqualValues(t, -1, memTotal(fstest.MapFS{}))
}

func TestMemlock(t *testing.T) {
	files := func(status, uidMap string) fstest.MapFS {
		m := fstest.MapFS{"proc/self/status": {Data: []byte(status)}}
		if uidMap != "" {
			m["proc/self/uid_map"] = &fstest.MapFile{Data: []byte(uidMap)}
		}
		return m
	}
	const all = "         0          0 4294967295\n"
	root := "VmLck:\t      64 kB\nCapInh:\t0000000000000000\nCapEff:\t000001fffeffffff\n"
	require.Equal(t, Memlock{100, 64 << 10, true}, readMemlock(files(root, all), 100))
	require.Equal(t, Memlock{100, 64 << 10, true}, readMemlock(files(root, ""), 100))
	require.Equal(t, Memlock{100, 64 << 10, false}, readMemlock(files(root, "0 1000 1\n"), 100), "root in a user namespace")
	require.Equal(t, Memlock{-1, 0, false}, readMemlock(files("VmLck: 0 kB\nCapEff:\t000001fffeffbfff\n", all), -1))
	require.Equal(t, Memlock{5, -1, false}, readMemlock(files("CapEff: zzz", all), 5))
	require.Equal(t, Memlock{5, -1, false}, readMemlock(fstest.MapFS{}, 5))

	require.True(t, Memlock{0, 0, true}.allows(1))
	require.True(t, Memlock{-1, 5, false}.allows(noLimit))
	require.True(t, Memlock{10, 4, false}.allows(6))
	require.False(t, Memlock{10, 4, false}.allows(7))
	require.False(t, Memlock{10, 20, false}.allows(0), "lowered below what is locked")
	require.True(t, Memlock{10, -1, false}.allows(10))

	require.Equal(t, "RLIMIT_MEMLOCK = 10 bytes, 4 locked, without CAP_IPC_LOCK", Memlock{10, 4, false}.String())
	require.Equal(t, "RLIMIT_MEMLOCK = unlimited, with CAP_IPC_LOCK", Memlock{-1, -1, true}.String())
}
