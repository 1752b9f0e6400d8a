package devicetest

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain: most checks here are run in order to fail, so rapid is not to keep
// the failing cases, nor to look long for smaller ones. The command line wins.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "0s"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	patience = 50 * time.Millisecond
	goleak.VerifyTestMain(m)
}
