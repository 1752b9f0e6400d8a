package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/metalloc/metalloc/tests/bench"
)

func TestBench(t *testing.T) {
	traces := filepath.Join("..", "..", "tests", "testdata", "traces")
	args := []string{"bench", "--quick", "--chunk=1us", "--rounds=1", "--traces=" + traces, "--workload"}

	stdout, stderr, code := metalloc(t, append(args, "pair")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	for _, want := range []string{"pair", "metalloc", "mutex", "packed", "actor-send", "actor-future", "2 goroutines"} {
		require.Contains(t, stdout, want)
	}

	stdout, stderr, code = metalloc(t, append(args, "replay:train-moe", "--json")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	var r bench.Report
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	require.Len(t, r.Rows, 5)
	require.Equal(t, "replay:train-moe", r.Rows[0].Workload)
}

func TestBenchWithoutTraces(t *testing.T) {
	args := []string{"bench", "--quick", "--chunk=1us", "--rounds=1", "--traces=nowhere"}
	stdout, stderr, code := metalloc(t, args...)
	require.Zero(t, code)
	require.Contains(t, stderr, "nowhere")
	for _, want := range []string{"growth", "size 256 KiB", "live 100,000", "10,000 streams open at once"} {
		require.Contains(t, stdout, want)
	}
	require.NotContains(t, stdout, "replay")

	// As on a machine without the repository.
	stdout, stderr, code = metalloc(t, append(args, "--workload=pair,idle-streams", "--json")...)
	require.Zero(t, code)
	require.Empty(t, stderr)
	require.Contains(t, stdout, `"open_us"`)
	requireRefused(t, exitUsage, []string{`"replay:*"`, "nowhere"}, append(args, "--workload=replay:*")...)
}

func TestBenchUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"bench now":            `"now"`,
		"bench --workload=bad": `"bad"`,
		"bench --workload=[":   `"["`,
		"bench --rounds=-1":    `"-1"`,
		"bench --chunk=-1s":    `"-1s"`,
	} {
		t.Run(args, func(t *testing.T) {
			args := append(strings.Fields(args), "--traces="+t.TempDir())
			requireRefused(t, exitUsage, []string{want}, args...)
		})
	}
}
