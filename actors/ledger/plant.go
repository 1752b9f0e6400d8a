package ledger

// fault is a mistake that a test can ask for, to see that it would be noticed.
type fault uint8

const (
	noVersion     fault = iota + 1 // a word's version stays
	singleCollect                  // credits are added up without a second look
	offByOne                       // a hand-out gives a unit more than there is
	noFold                         // the lease's peak is forgotten when it ends
	noFreeze                       // a reader passes over a row
	creditFirst                    // a free elsewhere gives its credit before it is counted
	noUndo                         // a free elsewhere that is put off stays counted
	ignoreHalf                     // a reader doesn't mind frees that are half done
	staleHigh                      // a fresh row's high is not begun anew
	staleLease                     // nor at the start of a lease
	ownPeakOnly                    // spans keep nobody from spending
	keepLease                      // a free of another stream's doesn't end the lease
	keepCredit                     // a reset leaves credit out
	stillEpoch                     // readers aren't told that other rows have credit now
)
