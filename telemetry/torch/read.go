package torch

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// The errors that reading can give besides those of the file system.
var (
	// ErrMalformed: not a pickle, one that is damaged or holds more than plain
	// data, or one that is no memory snapshot. The text says what and where.
	ErrMalformed = errors.New("malformed snapshot")
	// ErrTooLarge: over the bound of [WithMaxMemory]. Raise it.
	ErrTooLarge = errors.New("snapshot too large")
	// ErrDevice: no device was chosen and several have events (the text names
	// them), none has, or the chosen one isn't there. Use [WithDevice].
	ErrDevice = errors.New("which device")
)

const defaultMaxMemory = 4 << 30

// Option changes how a snapshot is read.
type Option func(*options) error

type options struct {
	device    int
	maxMemory int64
}

// WithDevice reads the events of device i (from 0) of a snapshot of several.
// They may be none. The default is the only device that has events. Given more
// than once, the last counts.
func WithDevice(i int) Option {
	return func(o *options) error {
		if i < 0 {
			return fmt.Errorf("%w: %d, want 0 or more", ErrDevice, i)
		}
		o.device = i
		return nil
	}
}

// WithMaxMemory bounds, in bytes, the snapshot once decompressed and, by itself,
// an upper estimate of the values in it (about seven times its size), so a read
// takes at most about three times as much; 0: the default, 4 GiB. More is
// [ErrTooLarge], noticed before that memory is taken.
func WithMaxMemory(n int64) Option {
	return func(o *options) error {
		if n < 0 {
			return fmt.Errorf("most memory to use is %d bytes, want 0 or more", n)
		}
		if n == 0 {
			n = defaultMaxMemory
		}
		o.maxMemory = n
		return nil
	}
}

// Read reads a pickled snapshot, gzipped or plain (its first bytes tell). The
// pickle may be of protocol 2 or later; what follows its end is not looked at.
// No code in it is run: whatever is not plain data is refused. Read may block as
// r does, and starts no goroutine.
func Read(r io.Reader, opts ...Option) (*History, error) {
	return read(r, func(part, float64) {}, opts)
}

// ReadFile is [Read] on a file. progress, if not nil, is called now and then
// while the file is read, on the same goroutine, with done growing to total, the
// file's size in bytes. The steps are scaled to take like times: they are not
// bytes read from the disk.
func ReadFile(path string, progress func(done, total int64), opts ...Option) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := meter{total: info.Size(), f: progress}
	if progress == nil {
		m.f = func(int64, int64) {}
	}
	counted := &countingReader{r: f, count: func(n int64) {
		m.report(reading, float64(n)/float64(max(m.total, 1)))
	}}
	h, err := read(counted, m.report, opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.report(pairingUp, 1)
	return h, nil
}

func read(r io.Reader, report func(part, float64), opts []Option) (*History, error) {
	o := options{device: anyDevice, maxMemory: defaultMaxMemory}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	data, err := readAll(r, o.maxMemory)
	if err != nil {
		return nil, err
	}
	fetched, err := scan(data, o.maxMemory)
	if err != nil {
		return nil, err
	}
	snapshot, err := build(data, fetched, func(done int) {
		report(building, float64(done)/float64(len(data)))
	})
	if err != nil {
		return nil, err
	}
	return history(snapshot, o.device)
}

// readAll reads at most limit bytes, decompressed if need be.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	buffered := bufio.NewReaderSize(r, 1<<16)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(magic) != "\x1f\x8b" {
		return readUpTo(buffered, limit)
	}
	unzipped, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, gzipError(err)
	}
	data, err := readUpTo(unzipped, limit)
	return data, gzipError(err)
}

func readUpTo(r io.Reader, limit int64) ([]byte, error) {
	if limit < math.MaxInt64 {
		r = io.LimitReader(r, limit+1)
	}
	data, err := io.ReadAll(r)
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes when decompressed", ErrTooLarge, limit)
	}
	return data, err
}

// gzipError marks what means a damaged file; other errors, nil too, stay as they
// are.
func gzipError(err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return malformed("gzip: %v", err)
	}
	return err
}
