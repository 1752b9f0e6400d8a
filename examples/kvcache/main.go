// Command kvcache grows a key-value cache from 262,144 tokens to four times as many,
// 256 at a time, on a simulated GPU: by a new buffer, a copy and a free, as frameworks
// do it, and in place, in room kept behind the buffer. It prints how much was active
// at most by then, how much was taken from the device for it, and the time that an
// H100's calls would have taken.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	humanize "github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/metalloc/metalloc/allocator"
	"github.com/metalloc/metalloc/metal/sim"
)

const (
	perToken = 32 << 10 // bytes
	first    = 256 << 10
	last     = 1 << 20
	step     = 256
	line     = 256 << 10 // tokens between two lines of the table
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kvcache:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"", "tokens", "active peak", "reserved peak", "ratio", "device calls"})
	for _, c := range []cache{{name: "new, copied, freed", next: anew}, {name: "in place", next: inPlace}} {
		if err := c.grow(ctx, t); err != nil {
			return err
		}
		t.AppendSeparator()
	}
	t.Render()
	return nil
}

// cache is a key-value cache, and how it grows.
type cache struct {
	name   string
	next   func(ctx context.Context, c *cache, size int64) (allocator.Buffer, error)
	stream *allocator.Stream
	buf    allocator.Buffer
}

// anew grows by a new buffer: for as long as the copy takes there are both.
func anew(ctx context.Context, c *cache, size int64) (allocator.Buffer, error) {
	b, err := c.stream.Malloc(ctx, size)
	if err != nil || c.buf == (allocator.Buffer{}) {
		return b, err
	}
	// A real program queues the copy from c.buf to b here.
	return b, c.buf.Free()
}

// inPlace grows where the buffer is. The room for all that may come costs no memory.
func inPlace(ctx context.Context, c *cache, size int64) (allocator.Buffer, error) {
	if c.buf == (allocator.Buffer{}) {
		return c.stream.MallocWith(ctx, size, allocator.MallocOptions{Room: last*perToken - size})
	}
	return c.buf.Grow(ctx, size)
}

// grow goes all the way, on a runtime of its own.
func (c *cache) grow(ctx context.Context, t table.Writer) (err error) {
	dev, err := sim.New(sim.Config{Memory: 128 << 30})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	rt, err := allocator.Open(dev)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(context.WithoutCancel(ctx))) }()
	if c.stream, err = rt.NewStream(allocator.WithName("decode")); err != nil {
		return err
	}
	for n := int64(first); n <= last; n += step {
		b, err := c.next(ctx, c, n*perToken)
		if err != nil {
			return err
		}
		c.buf = b
		if n%line == 0 {
			s := rt.Snapshot()
			t.AppendRow(table.Row{
				c.name, humanize.Comma(n), humanize.IBytes(uint64(s.Total.Peak)), humanize.IBytes(uint64(s.Total.ReservedPeak)),
				fmt.Sprintf("%.3f", float64(s.Total.ReservedPeak)/float64(s.Total.Peak)), dev.ModelledTime().Round(time.Millisecond),
			})
		}
	}
	return c.buf.Free()
}
