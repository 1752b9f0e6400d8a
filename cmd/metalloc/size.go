package main

import (
	"errors"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// size is a flag's value in bytes, given as people write it: 12GiB (2^30), 1.5G
// (10^9), 4096.
type size struct {
	bytes    int64
	positive bool // 0 makes no sense
	set      bool
}

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	// humanize passes over commas, so 1,5G would be 15G.
	if err != nil || n > math.MaxInt64 || strings.Contains(text, ",") {
		return errors.New("want a size such as 12GiB, 1.5G or 4096, below 8EiB")
	}
	if n == 0 && s.positive {
		return errors.New("want more than 0 bytes")
	}
	s.bytes, s.set = int64(n), true
	return nil
}

// String implements pflag.Value; of a flag not given it is empty.
func (s *size) String() string {
	if !s.set {
		return ""
	}
	return humanize.IBytes(uint64(s.bytes))
}

// Type implements pflag.Value.
func (s *size) Type() string { return "SIZE" }
