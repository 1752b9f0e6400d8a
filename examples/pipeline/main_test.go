package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPipeline(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), &out))
	want := 0
	for i := range batches {
		want += int(byte(2 * i))
	}
	require.Contains(t, out.String(), "64 batches, sum of all bytes 4032;")
	require.Equal(t, 4032, want)
	require.Contains(t, out.String(), "transform")
}
