package ledger

// Point is a moment since which the highest active is kept: the runtime's start or
// reset, or the beginning of a span.
type Point struct{ peak int64 }

// newPeak enters an active that no point of lower peak has seen. Nobody has
// credit, or the row with the lease is held.
func (l *Ledger) newPeak(active int64) {
	low := int64(noLimit)
	for _, p := range l.points {
		p.peak = max(p.peak, active)
		low = min(low, p.peak)
	}
	l.low = low
}

func (l *Ledger) setLow() {
	l.low = noLimit
	for _, p := range l.points {
		l.low = min(l.low, p.peak)
	}
}

// ResetPeak makes the runtime's peak 0; it follows active from the next malloc on.
func (l *Ledger) ResetPeak() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !planted(keepCredit) {
		l.gather()
	}
	l.peak.peak = 0
	l.low = 0
}

// ResetPeakOf is ResetPeak for one stream's own peak.
func (l *Ledger) ResetPeakOf(r *Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.closed {
		r.final.peak = 0
		return
	}
	if l.leased && r.out {
		l.gather()
	}
	l.hold(r)
	r.peak = 0
	r.x |= freshBit
	l.letGo(r)
}

// Begin opens a point, and returns what is active then, bytes.
func (l *Ledger) Begin(p *Point) (active int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gather()
	p.peak = l.granted
	l.points = append(l.points, p)
	l.low = min(l.low, p.peak)
	return l.granted
}

// End closes the point, and returns what is active then and the highest active
// since Begin, bytes.
func (l *Ledger) End(p *Point) (active, peak int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gather()
	for i, x := range l.points {
		if x == p {
			last := len(l.points) - 1
			l.points[i], l.points[last] = l.points[last], nil
			l.points = l.points[:last]
			break
		}
	}
	l.setLow()
	return l.granted, p.peak
}
