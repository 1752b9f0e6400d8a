package torch

import "io"

// part is a stretch of the work of reading a file, with where it begins and ends
// on a scale from 0 to 1, about as the time goes.
type part struct{ begin, end float64 }

var (
	reading   = part{0, 0.1}
	building  = part{0.2, 0.9} // the scan lies before it
	pairingUp = part{0.9, 1}
)

// meter turns the progress of the parts into that of the whole.
type meter struct {
	f     func(done, total int64)
	total int64
	last  int64
}

// report says how much of a part is done, from 0 to 1. It calls f at most about
// a hundred times.
func (m *meter) report(p part, fraction float64) {
	at := p.begin + (p.end-p.begin)*min(fraction, 1)
	done := int64(at * float64(m.total))
	if at >= 1 {
		done = m.total
	}
	if done < m.last+m.total/100 && done < m.total {
		return
	}
	m.last = done
	m.f(done, m.total)
}

// countingReader tells how many bytes have been read in all.
type countingReader struct {
	r     io.Reader
	n     int64
	count func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.count(c.n)
	return n, err
}
