package ledger

import "github.com/metalloc/metalloc/streams"

// A row's word: what its stream may spend, and what whoever reads or collects
// credit has to know at the same instant.
//
//	bits    meaning
//	0–31    credit in units of 512 bytes
//	32      frozen: only the mutex's holder may change the word
//	33      fresh: no malloc since the row's high was last looked at; it counts as 0
//	34      slot: which of the row's two books is the present one
//	35–63   version: changes with every change of the word
//
// 32 bits of credit are 2 TiB for one stream; what is active in all is counted
// in 64 bits.
const (
	creditMask   = uint64(1)<<32 - 1
	frozenBit    = uint64(1) << 32
	freshBit     = uint64(1) << 33
	slotShift    = 34
	slotBit      = uint64(1) << slotShift
	versionShift = 35
	versionOne   = uint64(1) << versionShift

	unit = streams.Unit

	// leaseCredit is what the holder of the lease gets, units. It is half of what
	// the word can hold, so that frees have as much room as mallocs.
	leaseCredit = uint64(1) << 31
	// mostCredit is the most that anyone else gets.
	mostCredit = uint64(1) << 31
)

// version is what a change adds to the word.
func version() uint64 {
	if planted(noVersion) {
		return 0
	}
	return versionOne
}

func units(n int64) uint64 { return uint64(n) / unit }

func bytes(units uint64) int64 { return int64(units * unit) }

func credit(x uint64) uint64 { return x & creditMask }

func slotOf(x uint64) int { return int(x >> slotShift & 1) }
