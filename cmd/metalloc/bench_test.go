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
	stdout, stderr, code := metalloc(t, "bench", "--quick", "--chunk=1us", "--rounds=1", "--workload=growth", "--traces=nowhere")
	require.Zero(t, code)
	require.Contains(t, stderr, "nowhere")
	require.Contains(t, stdout, "growth")
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
