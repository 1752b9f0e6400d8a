// Command pipeline runs batches through stages that are goroutines connected by
// channels: load → transform → reduce. Each stage has a stream of its own. Buffers
// are made in one stage and freed in another, and who holds what is printed at
// the end, stream by stream.
//
// The limits are low on purpose: with policy Refuse a stage that runs ahead is told
// so at once, and waits until later stages have freed something. The loader has a
// limit of its own, so that it can't take what the others need to get on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	humanize "github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sync/errgroup"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/host"
)

const (
	batches   = 64
	batchSize = 1 << 20
	limit     = 8 << 20 // far less than all batches together
	loadLimit = 4 << 20 // of it, for the loader
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pipeline:", err)
		os.Exit(1)
	}
}

// pipeline is three stages over one runtime.
type pipeline struct {
	rt                      *allocator.Runtime
	load, transform, reduce *allocator.Stream

	mu      sync.Mutex
	freed   chan struct{} // closed, and made anew, when a buffer was freed
	refused int
}

func run(ctx context.Context, out io.Writer) (err error) {
	dev, err := host.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	rt, err := allocator.Open(dev, allocator.WithMemoryLimit(limit), allocator.WithPolicy(allocator.Refuse))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(context.WithoutCancel(ctx))) }()

	p := &pipeline{rt: rt, freed: make(chan struct{})}
	if p.load, err = rt.NewStream(allocator.WithName("load"), allocator.WithStreamMemoryLimit(loadLimit)); err != nil {
		return err
	}
	if p.transform, err = rt.NewStream(allocator.WithName("transform")); err != nil {
		return err
	}
	if p.reduce, err = rt.NewStream(allocator.WithName("reduce")); err != nil {
		return err
	}
	sum, err := p.run(ctx)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%d batches, sum of all bytes %d; the limit of %s bit %s times\n",
		batches, sum, humanize.IBytes(limit), humanize.Comma(int64(p.refused)))
	p.print(out)
	return nil
}

func (p *pipeline) run(ctx context.Context) (sum int, err error) {
	// What the last stage needs it takes first: if it had to wait for memory that the
	// stages before it hold, and they for its frees, nobody would ever get on.
	results, err := p.reduce.MallocWith(ctx, batches, allocator.MallocOptions{Zero: true})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, results.Free()) }()
	loaded, transformed := make(chan allocator.Buffer, batches), make(chan allocator.Buffer, batches)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // makes the buffers that transform frees
		defer close(loaded)
		for i := range batches {
			b, err := p.malloc(ctx, p.load, batchSize)
			if err != nil {
				return err
			}
			b.Bytes()[0] = byte(i)
			loaded <- b
		}
		return nil
	})
	g.Go(func() error { // makes half a batch of each batch
		defer close(transformed)
		for in := range loaded {
			b, err := p.malloc(ctx, p.transform, batchSize/2)
			if err != nil {
				return err
			}
			b.Bytes()[0] = 2 * in.Bytes()[0]
			if err := p.free(in); err != nil {
				return err
			}
			transformed <- b
		}
		return nil
	})
	g.Go(func() error {
		for i := 0; ; i++ {
			b, ok := <-transformed
			if !ok {
				return nil
			}
			var total byte
			for _, x := range b.Bytes() { // Bytes asks the stream each time: not in an inner loop
				total += x
			}
			results.Bytes()[i] = total
			sum += int(total)
			if err := p.free(b); err != nil {
				return err
			}
		}
	})
	err = g.Wait()
	return sum, err
}

// malloc tries again, when something was freed, as long as a limit refuses.
func (p *pipeline) malloc(ctx context.Context, s *allocator.Stream, size int64) (allocator.Buffer, error) {
	for {
		p.mu.Lock()
		freed := p.freed // from before the try: no free after it is missed
		p.mu.Unlock()
		b, err := s.MallocWith(ctx, size, allocator.MallocOptions{Zero: true})
		if !errors.Is(err, allocator.ErrLimitExceeded) {
			return b, err
		}
		p.mu.Lock()
		p.refused++
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return allocator.Buffer{}, ctx.Err()
		}
	}
}

// free frees a buffer of whatever stream, and tells who may be waiting.
func (p *pipeline) free(b allocator.Buffer) error {
	err := b.Free()
	p.mu.Lock()
	close(p.freed)
	p.freed = make(chan struct{})
	p.mu.Unlock()
	return err
}

// print shows the books.
func (p *pipeline) print(out io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header, t.Style().Format.Footer = text.FormatDefault, text.FormatDefault
	t.AppendHeader(table.Row{"stream", "mallocs", "frees", "from cache", "active", "peak", "reserved peak"})
	s := p.rt.Snapshot()
	for _, r := range s.Streams {
		if r.Name == "" {
			continue // what no stream owns: pages on their way
		}
		t.AppendRow(table.Row{
			r.Name, r.Mallocs, r.Frees, r.Hits, humanize.IBytes(uint64(r.Active)),
			humanize.IBytes(uint64(r.Peak)), humanize.IBytes(uint64(r.ReservedPeak)),
		})
	}
	t.AppendFooter(table.Row{
		"all", s.Total.Mallocs, s.Total.Frees, s.Total.Hits, humanize.IBytes(uint64(s.Total.Active)),
		humanize.IBytes(uint64(s.Total.Peak)), humanize.IBytes(uint64(s.Total.ReservedPeak)),
	})
	t.Render()
}
