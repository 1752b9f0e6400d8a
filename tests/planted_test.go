package tests

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Mistakes planted in the ledger are noticed by its tests of linearizability. That
// takes a build of their own, so an ordinary run of all tests starts it here.
func TestPlantedFaultsAreFound(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool to build the planted faults with: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "test", "-tags", "simatomics", "-run", "Planted", "-v", "./actors/ledger")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestPlantedFaultsAreFound/", "some were planted")
}
