package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/metalloc/metalloc/metal"
)

// step is one return of poll: at this time, with these signals ready.
type step struct {
	at    time.Duration
	ready []int
}

// play runs a watcher through steps and then stops it. It returns what f was told
// and the timeouts that the watcher asked for.
func play(t *testing.T, signals []signal, steps []step) (told []metal.Level, timeouts []time.Duration) {
	t.Helper()
	w, err := newWatcher(func(l metal.Level) { told = append(told, l) }, signals)
	require.NoError(t, err)
	now := time.Duration(0)
	w.now = func() time.Duration { return now }
	w.poll = func(fds []unix.PollFd, timeout time.Duration) error {
		timeouts = append(timeouts, timeout)
		if len(steps) == 0 {
			fds[0].Revents = unix.POLLIN
			return nil
		}
		now = steps[0].at
		for _, i := range steps[0].ready {
			require.Less(t, i, len(fds)-1, "that signal is gone")
			fds[i+1].Revents = unix.POLLPRI
		}
		steps = steps[1:]
		return nil
	}
	w.run()
	w.stop()
	w.stop()
	return told, timeouts
}

// always is a signal of one level.
func always(l metal.Level, closed *int) signal {
	return signal{
		fd: 1000, events: unix.POLLPRI,
		read:  func(int16) (metal.Level, error) { return l, nil },
		close: func() { *closed++ },
	}
}

func TestWatcher(t *testing.T) {
	const s = time.Second
	var closed int
	warn, critical := always(metal.Warn, &closed), always(metal.Critical, &closed)
	told, timeouts := play(t, []signal{warn, critical}, []step{
		{at: 1 * s},                      // nothing
		{at: 2 * s, ready: []int{0}},     // warn until 6
		{at: 4 * s, ready: []int{0, 1}},  // both until 8
		{at: 6 * s, ready: []int{0}},     // warn until 10; still critical, told again
		{at: 8 * s},                      // critical is over
		{at: 9*s + s/2, ready: []int{0}}, // warn until 13.5
		{at: 9*s + s/2 + 1, ready: []int{0}},
		{at: 14 * s},
	})
	require.Equal(t, []metal.Level{
		metal.Warn, metal.Critical, metal.Critical, metal.Warn, metal.Warn, metal.Normal,
	}, told)
	require.Equal(t, []time.Duration{-1, -1, 4 * s, 4 * s, 2 * s, 2 * s, 4 * s, 4 * s, -1}, timeouts)
	require.Equal(t, 2, closed)
}

func TestWatcherWithoutPressureSaysNothing(t *testing.T) {
	var closed int
	told, _ := play(t, []signal{always(metal.Normal, &closed)}, []step{{1, []int{0}}, {2, []int{0}}, {3, nil}})
	require.Empty(t, told)
}

// TestSignalThatGoesAway: the others go on.
func TestSignalThatGoesAway(t *testing.T) {
	var closed int
	gone := always(metal.Critical, &closed)
	gone.read = func(int16) (metal.Level, error) { return metal.Critical, errSignalGone }
	told, _ := play(t, []signal{gone, always(metal.Warn, &closed)}, []step{{1, []int{0}}, {2, []int{0}}})
	require.Equal(t, []metal.Level{metal.Warn}, told, "the second signal is the first now")
	require.Equal(t, 2, closed)
}

func TestWatcherEndsWhenPollFails(t *testing.T) {
	var closed int
	w, err := newWatcher(func(metal.Level) { t.Error("told something") }, []signal{always(metal.Warn, &closed)})
	require.NoError(t, err)
	w.poll = func([]unix.PollFd, time.Duration) error { return errors.New("poll") }
	w.run()
	w.stop()
	require.Equal(t, 1, closed)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func TestAverages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory")
	_, err := openAverages(file)
	require.ErrorIs(t, err, os.ErrNotExist)
	write(t, file, "some avg10=0.00\nfull avg10=0.00\n")
	s, err := openAverages(file)
	require.NoError(t, err)

	texts := []string{"some avg10=9.00\nfull avg10=0.00\n", "some avg10=90.00\nfull avg10=9.00\n", "some avg10=0.00\n", "gone"}
	inner := s.read
	s.read = func(r int16) (metal.Level, error) { // before each reading the file changes
		write(t, file, texts[0])
		if texts[0] == "gone" {
			require.NoError(t, os.Remove(file))
		}
		texts = texts[1:]
		return inner(r)
	}
	told, timeouts := play(t, []signal{s}, []step{{1, nil}, {2, nil}, {3 + levelHold, nil}, {4 + levelHold, nil}})
	require.Equal(t, []metal.Level{metal.Warn, metal.Critical, metal.Normal}, told)
	require.Equal(t, []time.Duration{levelRepeat, levelRepeat, levelRepeat, levelRepeat, -1}, timeouts, "read each time, until it is gone")
}

func TestEvents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	_, err := openEvents(file)
	require.ErrorIs(t, err, unix.ENOENT)
	write(t, file, "high 5\nmax 0\noom 0\n")
	s, err := openEvents(file)
	require.NoError(t, err)
	texts := []string{"high 5\nmax 0\noom 0\n", "high 6\nmax 0\noom 0\n", "high 6\nmax 0\noom 1\n", "high 6\nmax 0\noom 1\n"}
	inner := s.read
	s.read = func(r int16) (metal.Level, error) {
		write(t, file, texts[0])
		texts = texts[1:]
		return inner(r)
	}
	told, _ := play(t, []signal{s}, []step{{1, []int{0}}, {2, []int{0}}, {3, []int{0}}, {4 + levelHold, []int{0}}})
	require.Equal(t, []metal.Level{metal.Warn, metal.Critical, metal.Normal}, told, "what was counted before doesn't count")
}

// TestOpenSignals looks at made-up systems. A file that takes any text takes
// triggers, one of /proc that can't be written takes none.
func TestOpenSignals(t *testing.T) {
	open := func(root string) (fds, averages int) {
		for _, s := range openSignals(root, cgroup{unified: "cg"}) {
			if s.fd < 0 {
				averages++
			} else {
				fds++
			}
			s.close()
		}
		return fds, averages
	}
	check := func(name, root string, wantFDs, wantAverages int) {
		t.Helper()
		fds, averages := open(root)
		require.Equal(t, []int{wantFDs, wantAverages}, []int{fds, averages}, name)
	}
	root := t.TempDir()
	check("nothing", root, 0, 0)
	write(t, root+"/cg/memory.events", "high 0\n")
	check("events only", root, 1, 0)
	require.NoError(t, os.MkdirAll(root+"/proc/pressure", 0o755))
	require.NoError(t, os.Symlink("/proc/version", root+"/proc/pressure/memory"))
	check("the system's averages", root, 1, 1)
	write(t, root+"/cg/memory.pressure", "")
	check("the group's triggers", root, 3, 0)
	trigger, err := os.ReadFile(root + "/cg/memory.pressure")
	require.NoError(t, err)
	require.Equal(t, "full 100000 2000000\x00", string(trigger))
	require.NoError(t, os.Remove(root+"/cg/memory.events"))
	check("the group's triggers, no events", root, 2, 0)
}

func TestTriggerThatIsGone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.pressure")
	write(t, file, "")
	s, err := openTrigger(file, "some", warnStall, metal.Warn)
	require.NoError(t, err)
	defer s.close()
	l, err := s.read(unix.POLLPRI)
	require.NoError(t, err)
	require.Equal(t, metal.Warn, l)
	_, err = s.read(unix.POLLPRI | unix.POLLERR)
	require.ErrorIs(t, err, errSignalGone)
}

// pipe is a signal that a test can raise: each byte written is one.
func pipe(t *testing.T, l metal.Level) (s signal, raise func()) {
	t.Helper()
	var p [2]int
	require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	t.Cleanup(func() { require.NoError(t, unix.Close(p[1])) })
	s = signal{
		fd: p[0], events: unix.POLLIN,
		read: func(int16) (metal.Level, error) {
			_, err := unix.Read(p[0], make([]byte, 1))
			return l, err
		},
		close: func() { _ = unix.Close(p[0]) },
	}
	return s, func() {
		_, err := unix.Write(p[1], []byte{1})
		require.NoError(t, err)
	}
}

// TestWatchers waits for real files, and stops in all ways.
func TestWatchers(t *testing.T) {
	var ws watchers
	told := make(chan metal.Level, 8)
	watch := func(l metal.Level) (stop, raise func()) {
		s, raise := pipe(t, l)
		stop, err := ws.start(func(l metal.Level) { told <- l }, func() []signal { return []signal{s} })
		require.NoError(t, err)
		return stop, raise
	}
	stopFirst, raiseFirst := watch(metal.Warn)
	_, raiseSecond := watch(metal.Critical)
	stopThird, _ := watch(metal.Critical)
	raiseFirst()
	require.Equal(t, metal.Warn, <-told)
	raiseSecond()
	require.Equal(t, metal.Critical, <-told)
	stopFirst()
	stopFirst()
	ws.close()
	ws.close()
	stopThird()
	_, err := ws.start(func(metal.Level) {}, func() []signal { panic("opened") })
	require.ErrorIs(t, err, metal.ErrClosed)
	require.Empty(t, told)
}

// TestStopWaitsForTheFunction: it is not running when stop returns.
func TestStopWaitsForTheFunction(t *testing.T) {
	var ws watchers
	s, raise := pipe(t, metal.Warn)
	entered, goOn := make(chan struct{}), make(chan struct{})
	running := false // the race detector sees a stop that doesn't wait
	stop, err := ws.start(func(metal.Level) {
		running = true
		close(entered)
		<-goOn
		running = false
	}, func() []signal { return []signal{s} })
	require.NoError(t, err)
	raise()
	<-entered
	stopped := make(chan bool)
	go func() {
		stop()
		stopped <- running
	}()
	close(goOn)
	require.False(t, <-stopped)
}

func TestNothingToWatch(t *testing.T) {
	var ws watchers
	_, err := ws.start(func(metal.Level) {}, func() []signal { return nil })
	require.ErrorIs(t, err, metal.ErrUnsupported)
}

// TestKernelTriggers arms the real ones.
func TestKernelTriggers(t *testing.T) {
	d, err := Open()
	require.NoError(t, err)
	stop, err := d.WatchPressure(func(metal.Level) {})
	if errors.Is(err, metal.ErrUnsupported) {
		require.Empty(t, Examine().Pressure)
		require.NoError(t, d.Close())
		t.Skipf("this kernel tells nothing about pressure: %v", err)
	}
	require.NoError(t, err)
	require.NotEmpty(t, Examine().Pressure)
	stop()
	require.NoError(t, d.Close())
}
