package allocator

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	humanize "github.com/dustin/go-humanize"

	"github.com/metalloc/metalloc/actors"
	"github.com/metalloc/metalloc/metal"
)

// The variables that FromEnv reads.
const (
	envMemoryLimit = "METALLOC_MEMORY_LIMIT"
	envCacheLimit  = "METALLOC_CACHE_LIMIT"
)

// FromEnv lets whoever runs the program override limits that the code sets:
//
//	METALLOC_MEMORY_LIMIT=12GiB    a size, a share of the working set (80%), none or default
//	METALLOC_CACHE_LIMIT=25%       a size, a share of the memory limit, none or default
//
// A variable that is unset or empty changes nothing; one that doesn't parse is
// an error at Open, which names it.
func FromEnv() Option { return func(c *config) { c.fromEnv = os.LookupEnv } }

func (c *config) applyEnv(info metal.Info) error {
	if text, ok := c.fromEnv(envMemoryLimit); ok && text != "" {
		n, err := parseLimit(text, info.WorkingSet)
		if err != nil {
			return fmt.Errorf("%s=%q: %w", envMemoryLimit, text, err)
		}
		c.MemoryLimit = n
	}
	if text, ok := c.fromEnv(envCacheLimit); ok && text != "" {
		n, err := parseLimit(text, actors.ResolveMemoryLimit(c.MemoryLimit, info))
		if err != nil {
			return fmt.Errorf("%s=%q: %w", envCacheLimit, text, err)
		}
		c.CacheLimit = n
	}
	return nil
}

// parseLimit reads a limit: a size as people write it, a share of whole, "none"
// or "default".
func parseLimit(text string, whole int64) (int64, error) {
	text = strings.TrimSpace(text)
	switch strings.ToLower(text) {
	case "none":
		return NoLimit, nil
	case "default":
		return DefaultLimit, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err != nil || math.IsNaN(p) || p < 0 || p > 100 {
			return 0, fmt.Errorf("%w: expected a share from 0%% to 100%%", ErrInvalidSize)
		}
		if n := p / 100 * float64(whole); n < float64(whole) {
			return int64(n), nil
		}
		return whole, nil // a float64 of the largest whole is no int64
	}
	n, err := humanize.ParseBytes(text)
	// humanize passes over commas, so 1,5G would be 15G.
	if err != nil || n > math.MaxInt64 || strings.Contains(text, ",") {
		return 0, fmt.Errorf("%w: expected a size such as 12GiB, a share such as 25%%, none or default", ErrInvalidSize)
	}
	return int64(n), nil
}
