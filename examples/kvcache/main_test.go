package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKVCache(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), &out))
	require.Regexp(t, `new, copied, freed │ 1,048,576 │ 64 GiB +│ 64 GiB +│ 1\.0[0-2]`, out.String())
	require.Regexp(t, `in place +│ 1,048,576 │ 32 GiB +│ 32 GiB +│ 1\.0[0-2]`, out.String())
	require.Equal(t, 2, strings.Count(out.String(), "│ 262,144   │"))
}
