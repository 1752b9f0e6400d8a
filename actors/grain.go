package actors

// This file decides how large the pages are that memory is created in, on devices
// whose calls cost by the handle. A page moves whole or not at all: small ones are
// easily put to another use, large ones are cheap. Large ones therefore while hardly
// anything lies idle on pages that are in use, as when a program begins; then small
// ones, for as long as that keeps the device's calls to a small share of the time,
// and near the memory limit always.

// grain keeps account of that share, as a bucket that time drains.
type grain struct {
	at, spent int64 // when it was asked last, and what device calls had taken by then, nanoseconds
	over      int64 // device time beyond the share; negative: saved up
}

const (
	grainShare  = 100  // device calls may take one part in so many of the time
	grainCredit = 20e6 // ns, that can be saved up
	grainStep   = 5e6  // ns, with each of which beyond that small pages double
	grainMost   = 4    // times

	// pinnedShare: large pages while at most one part in so many of what is reserved
	// lies idle on pages that are in use.
	pinnedShare = 256

	// nearLimit: the limit is near when at most one part in so many of it is left.
	nearLimit = 8
)

func newGrain(now, spent int64) grain { return grain{at: now, spent: spent, over: -grainCredit} }

// coarse gives how many times PageSize small pages are. It is told the time and the
// sum of what device calls have taken.
func (g *grain) coarse(now, spent int64) int64 {
	g.over = max(g.over+spent-g.spent-(now-g.at)/grainShare, -grainCredit)
	g.at, g.spent = now, spent
	return 1 << min(max(g.over+grainStep-1, 0)/grainStep, grainMost)
}

// largest is how large pages may be that are created for a ticket, bytes.
func (m *metalActor) largest(t *ticket) int64 {
	page := m.core.info.PageSize
	most := max(m.core.info.HandleSize, page)
	if most == page {
		return page
	}
	small := m.grain.coarse(m.core.now(), m.driverTime()) * page
	all := m.core.ledger.Totals()
	if limit, _ := m.core.ledger.Limits(); all.Reserved > limit-limit/nearLimit {
		return page
	}
	// What is free here is the ticket's, or on a page that can't be had.
	reused := t.plan.Size() - t.plan.Missing()
	if pinned := all.Cache + all.Slack - t.work.moved - reused; pinned > all.Reserved/pinnedShare {
		return min(most, small)
	}
	return most
}
