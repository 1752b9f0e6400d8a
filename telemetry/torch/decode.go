package torch

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/nlpodyssey/gopickle/pickle"
)

// build has gopickle make the values of a pickle that scan has passed.
// progress, if any, is told how many bytes of data are done.
//
// Given the file as it is, gopickle keeps every value for good (each is in the
// memo) in dicts and lists with room to grow: 540 MiB and 3.9 s for the 733,588
// events of decode-llama. So it is given a slimmer stream (slimReader) and our
// own dicts and lists, which forget what is of no use here.
func build(data []byte, fetched bitset, progress func(done int)) (value any, err error) {
	r := &slimReader{data: data, fetched: fetched, progress: progress}
	u := pickle.NewUnpickler(r)
	u.GetExtension = newContainer
	// Second line of defence: scan has refused the opcodes that lead here.
	u.FindClass = func(module, name string) (any, error) {
		return nil, fmt.Errorf("class %s.%s refused", module, name)
	}
	u.PersistentLoad = func(any) (any, error) { return nil, fmt.Errorf("persistent id refused") }
	u.NextBuffer = func() (any, error) { return nil, fmt.Errorf("outside buffer refused") }

	if err := guard(func() error { value, err = u.Load(); return err }); err != nil {
		return nil, malformed("near byte %d: %v", r.pos, err)
	}
	return value, nil
}

// guard runs f and gives its panic as an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the pickle library panicked: %v", p)
		}
	}()
	return f()
}

// Codes of EXT1 in the stream for gopickle. The scan refuses that opcode in
// files, so only slimReader can have put it there.
const (
	extDict = 1
	extList = 2
)

func newContainer(code int) (any, error) {
	switch code {
	case extDict:
		return new(dict), nil
	case extList:
		return new(list), nil
	}
	return nil, fmt.Errorf("extension code %d refused", code)
}

// slimReader gives gopickle a scanned pickle with changes that leave its meaning
// as it is: no frames (gopickle copies them), no memo entry that nobody fetches
// (the memo would keep alive all that is in it), and dicts and lists made by
// newContainer.
type slimReader struct {
	data     []byte
	pos      int // next opcode in data
	memo     memo
	fetched  bitset
	progress func(done int)
	reported int

	out     []byte // opcode and argument to give next
	scratch [5]byte
}

// ReadByte implements io.ByteReader, by which gopickle reads opcodes.
func (r *slimReader) ReadByte() (byte, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	b := r.out[0]
	r.out = r.out[1:]
	return b, nil
}

// Read implements io.Reader.
func (r *slimReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill makes sure that out has something.
func (r *slimReader) fill() error {
	for len(r.out) == 0 {
		if r.pos >= len(r.data) {
			return io.ErrUnexpectedEOF
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// next sets out for the opcode at pos; to nothing, if gopickle needn't see it.
func (r *slimReader) next() error {
	_, arg, end, err := lex(r.data, r.pos)
	if err != nil {
		return err
	}
	code, whole := r.data[r.pos], r.data[r.pos:end]
	r.pos = end
	switch code {
	case opFrame:
	case opEmptyDict:
		r.out = append(r.scratch[:0], opExt1, extDict)
	case opEmptyList:
		r.out = append(r.scratch[:0], opExt1, extList)
	case opBinPut, opLongBinPut, opMemoize:
		// Always with its index: that of MEMOIZE is the number of entries
		// before it, of which gopickle sees fewer.
		i := r.memo.index(code, arg)
		r.memo.store(i)
		if r.fetched.has(i) {
			r.out = binary.LittleEndian.AppendUint32(append(r.scratch[:0], opLongBinPut), uint32(i))
		}
	default:
		r.out = whole
	}
	if r.progress != nil && r.pos-r.reported >= 1<<16 {
		r.reported = r.pos
		r.progress(r.pos)
	}
	return nil
}
