package testlock

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnly(t *testing.T) {
	require.Equal(t, "^TestA$", only("TestA"))
	require.Equal(t, `^TestA$/^b\.c#01$`, only("TestA/b.c#01"))
}

func TestInChild(t *testing.T) {
	if InChild(t, 1<<20) {
		require.NotEmpty(t, os.Getenv(inChild))
	}
}

func TestInChildOfSubtest(t *testing.T) {
	t.Run("with a dot.", func(t *testing.T) {
		if InChild(t, 0) {
			require.NotEmpty(t, os.Getenv(inChild))
		}
	})
}

// TestFailingChild is run by the one below: what fails in the child fails here.
func TestFailingChild(t *testing.T) {
	if os.Getenv("METALLOC_TESTLOCK_FAIL") == "" {
		t.Skip("fails on purpose; TestFailureIsReported runs it")
	}
	if InChild(t, 1<<20) {
		t.Fatal("on purpose")
	}
}

func TestFailureIsReported(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestFailingChild$", "-test.v")
	cmd.Env = append(os.Environ(), "METALLOC_TESTLOCK_FAIL=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		require.Contains(t, string(out), "still may lock memory", "a failure that nobody noticed")
		t.Skipf("no such child here:\n%s", out)
	}
	require.Contains(t, string(out), "on purpose")
}
