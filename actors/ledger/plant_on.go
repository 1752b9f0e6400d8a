//go:build simatomics

package ledger

// planted is a fault that a test has asked for.
var planted struct {
	noVersion     bool // the word's version stays
	singleCollect bool // credits are added up without a second look
	offByOne      bool // a hand-out gives a unit more than there is
}

func (r *Row) version() uint64 {
	if planted.noVersion {
		return 0
	}
	return versionOne
}

func plantedSingleCollect() bool { return planted.singleCollect }

func plantedOffByOne() uint64 {
	if planted.offByOne {
		return 1
	}
	return 0
}
