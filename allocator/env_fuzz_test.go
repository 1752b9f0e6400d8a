package allocator

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParseLimit: whatever an operator writes, a limit is one of those that Open
// takes or ErrInvalidSize. A share is never more than the whole. More seeds are in
// testdata/fuzz/FuzzParseLimit.
func FuzzParseLimit(f *testing.F) {
	for _, text := range []string{"12GiB", "25%", "none", "default", "0", "-1", "1,5G", "100%"} {
		f.Add(text, int64(80<<30))
	}
	f.Add("100%", NoLimit)
	f.Fuzz(func(t *testing.T, text string, whole int64) {
		if whole < 0 {
			return // working sets and resolved limits aren't
		}
		n, err := parseLimit(text, whole)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidSize)
			require.NotContains(t, err.Error(), "\n")
			require.Zero(t, n)
			return
		}
		require.NotContains(t, text, ",", "1,5 is no 15")
		switch {
		case n == DefaultLimit:
			require.Equal(t, "default", strings.ToLower(strings.TrimSpace(text)))
		case strings.Contains(text, "%"):
			require.GreaterOrEqual(t, n, int64(0))
			require.LessOrEqual(t, n, whole)
		default:
			require.GreaterOrEqual(t, n, int64(0))
		}
	})
}
