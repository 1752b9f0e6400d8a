//go:build !leak

package leaktest

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReport runs the leaking test and reads what it says.
func TestReport(t *testing.T) {
	out, err := exec.Command("go", "test", "-tags", "leak", "-count=1", ".").CombinedOutput()
	require.Error(t, err, "the leak was not found:\n%s", out)
	require.Contains(t, string(out), "leaktest: 16 buffers still live, 1.0 MiB:")
	require.Contains(t, string(out), `of stream "decode", from`)
	require.Regexp(t, `model\.go:\d+ .*\(\*Model\)\.Step`, string(out))
	require.Contains(t, string(out), "leak_test.go:")
	t.Logf("%s", out)
}
