package allocator_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

const childVariable = "METALLOC_TEST_QUIET_CHILD"

// A runtime with the actor system that Open makes writes nothing to stderr and
// stdout, whatever goes wrong: in a process of its own, since that is where
// loggers find their files.
func TestQuiet(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestQuietChild$")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)
	require.Empty(t, stderr.String())
	require.Equal(t, "PASS\n", stdout.String())
}

func TestQuietChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("runs in a process of its own, started by TestQuiet")
	}
	noisy(t)
}

// noisy does what an actor system likes to log: panics, restarts, dead letters.
func noisy(t *testing.T, opts ...allocator.Option) {
	t.Helper()
	dev := simDevice(t, sim.Config{})
	rt, err := allocator.Open(dev, opts...)
	require.NoError(t, err)
	s := newStream(t, rt)
	dev.PanicNext(sim.CallCreate, 1)
	_, err = s.Malloc(ctx, 1)
	require.ErrorContains(t, err, "scripted panic")
	dev.FailNext(sim.CallUnmap, 1, nil)
	free(t, malloc(t, s, 1))
	_, err = rt.ClearCache()
	require.NoError(t, err)
	require.NoError(t, s.Close(ctx))
	require.NoError(t, rt.Close(ctx))
	require.NoError(t, dev.Close())
}

// The same things are told to the program's logger.
func TestLogger(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	noisy(t, allocator.WithLogger(zap.New(core)))
	require.NotZero(t, logs.FilterMessage("device would not unmap pages").Len())

	sys := allocator.NewSystem(nil)
	t.Cleanup(sys.Shutdown)
	dev := simDevice(t, sim.Config{})
	rt := open(t, dev, allocator.WithLogger(zap.New(core)), allocator.WithActorSystem(sys))
	s := newStream(t, rt)
	b := malloc(t, s, page)
	_, err := rt.SetMemoryLimit(1)
	require.NoError(t, err)
	warnings := func() int {
		return logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("over the memory limit").Len()
	}
	eventually(t, func() bool { return warnings() == 1 })
	_, err = sys.Root.RequestFuture(rt.Supervisor(), actors.SetMemoryLimit{Bytes: 2}, long).Result()
	require.NoError(t, err)
	eventually(t, func() bool { return warnings() == 2 })
	free(t, b)
}

// Messages to an actor that has gone are answered by its system.
func TestMessageAfterClose(t *testing.T) {
	sys := allocator.NewSystem(nil)
	defer sys.Shutdown()
	rt, _ := openSim(t, sim.Config{}, allocator.WithActorSystem(sys))
	s := newStream(t, rt)
	reply, err := sys.Root.RequestFuture(rt.Supervisor(), actors.ActiveMemory{}, long).Result()
	require.NoError(t, err)
	require.Equal(t, actors.MemoryReply{}, reply)
	require.NoError(t, rt.Close(ctx))
	for _, pid := range []*actors.PID{rt.Supervisor(), s.PID()} {
		_, err := sys.Root.RequestFuture(pid, actors.ActiveMemory{}, time.Minute).Result()
		require.ErrorContains(t, err, "dead letter")
	}
}
