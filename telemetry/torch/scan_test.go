package torch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/stretchr/testify/require"
)

// cat joins opcodes and arguments written by hand.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case rune:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func TestHostilePickles(t *testing.T) {
	const proto = "\x80\x04"
	for _, c := range []struct {
		name string
		data []byte
		want string // in the error, after "malformed snapshot: "
	}{
		{"empty", nil, "empty"},
		{"json", cat(`{"segments": []}`), `not a pickle of protocol 2 or later: it begins with "{\"segmen"`},
		{"zip of torch.save", cat("PK\x03\x04"), `not a pickle of protocol 2 or later: it begins with "PK\x03\x04"`},
		{"old protocol", cat("}."), "not a pickle of protocol 2 or later"},
		{"newer protocol", cat("\x80\x06N."), "pickle protocol 6, want 2 to 5 (PROTO at byte 0)"},
		{"protocol 1 in PROTO", cat("\x80\x01N."), "pickle protocol 1, want 2 to 5"},
		{"PROTO only", cat(opProto), "truncated: PROTO at byte 0 wants 1 bytes, 0 are left"},
		{"no STOP", cat(proto, "N"), "truncated: no STOP in its 3 bytes"},
		{"STOP with nothing", cat(proto, "."), "0 of 1 items on the stack (STOP at byte 2)"},
		{"os.system", cat(proto, "cos\nsystem\n(X\x02\x00\x00\x00lstR."), "GLOBAL at byte 2 is refused: it can make objects or call code"},
		{"os.system, protocol 4", cat(proto, "\x8c\x02os\x8c\x06system\x93."), "STACK_GLOBAL at byte 14 is refused"},

		{"string beyond the file", cat(proto, "X\xff\xff\xff\xffab"), "truncated: BINUNICODE at byte 2 wants 4294967295 bytes, 2 are left"},
		{"8-byte length", cat(proto, "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "truncated: BINUNICODE8 at byte 2 wants 18446744073709551615 bytes"},
		{"8-byte bytes", cat(proto, "\x8e\x00\x00\x00\x00\x00\x00\x00\x80"), "truncated: BINBYTES8 at byte 2 wants 9223372036854775808 bytes"},
		{"bytearray", cat(proto, "\x96\x01\x00\x00\x00\x00\x00\x00\x00"), "truncated: BYTEARRAY8 at byte 2 wants 1 bytes, 0 are left"},
		{"negative BINSTRING", cat(proto, "T\xff\xff\xff\xff"), "truncated: BINSTRING at byte 2 wants 4294967295 bytes"},
		{"half a length", cat(proto, "X\x01\x00"), "truncated: BINUNICODE at byte 2 wants 4 bytes, 2 are left"},
		{"cut int", cat(proto, "J\x01"), "truncated: BININT at byte 2 wants 4 bytes, 1 are left"},
		{"cut frame header", cat(proto, "\x95\x01"), "truncated: FRAME at byte 2 wants 8 bytes, 1 are left"},
		{"frame beyond the file", cat(proto, "\x95\x03\x00\x00\x00\x00\x00\x00\x00N."), "truncated: FRAME at byte 2 wants 3 bytes, 2 are left"},
		{"huge frame", cat(proto, "\x95\xff\xff\xff\xff\xff\xff\xff\x7fN."), "truncated: FRAME at byte 2 wants 9223372036854775807 bytes"},
		{"empty int", cat(proto, "\x8a\x00."), "an integer of 0 bytes, want 1 to 256 (LONG1 at byte 2)"},
		{"huge int", cat(proto, "\x8b\x01\x01\x00\x00", strings.Repeat("\x7f", 257), "."), "an integer of 257 bytes, want 1 to 256 (LONG4 at byte 2)"},
		{"int beyond the file", cat(proto, "\x8b\xff\xff\xff\x7f"), "truncated: LONG4 at byte 2 wants 2147483647 bytes"},

		{"fetch of nothing", cat(proto, "h\x00."), "memo index 0 was never stored (BINGET at byte 2)"},
		{"fetch far away", cat(proto, "j\xff\xff\xff\xff."), "memo index 4294967295 was never stored"},
		{"fetch of the next", cat(proto, "N\x94h\x01."), "memo index 1 was never stored (BINGET at byte 4)"},
		{"absurd memo index", cat(proto, "Nr\xff\xff\xff\xff."), "memo index 4294967295 in a pickle of 9 bytes (LONG_BINPUT at byte 3)"},
		{"store of nothing", cat(proto, "q\x00N."), "0 of 1 items on the stack (BINPUT at byte 2)"},
		{"memoize of nothing", cat(proto, "\x94N."), "0 of 1 items on the stack (MEMOIZE at byte 2)"},

		{"marks without end", cat(proto, strings.Repeat("(", maxDepth+1), "."), "nested more than 100 deep (MARK at byte 102)"},
		{"no mark", cat(proto, "]Ne."), "no mark on the stack (APPENDS at byte 4)"},
		{"append to nothing", cat(proto, "Na."), "1 of 2 items on the stack (APPEND at byte 3)"},
		{"append across a mark", cat(proto, "](Na."), "1 of 2 items on the stack (APPEND at byte 5)"},
		{"appends to nothing", cat(proto, "(Ne."), "0 of 1 items on the stack (APPENDS at byte 4)"},
		{"key without value", cat(proto, "}(Nu."), "a key without a value (SETITEMS at byte 5)"},
		{"item of nothing", cat(proto, "NNs."), "2 of 3 items on the stack (SETITEM at byte 4)"},
		{"tuple of nothing", cat(proto, "N\x87."), "1 of 3 items on the stack (TUPLE3 at byte 3)"},
		{"pop of nothing", cat(proto, "0."), "no mark on the stack (POP at byte 2)"},
		{"dup of nothing", cat(proto, "2."), "0 of 1 items on the stack (DUP at byte 2)"},

		// Sound to the scan; what they mean is gopickle's to refuse.
		{"append to an int", cat(proto, "K\x01Na."), "near byte 6: APPEND requires ListAppender"},
		{"append to a dict", cat(proto, "}Na."), "near byte 5: APPEND requires ListAppender"},
		{"item of a list", cat(proto, "]NNs."), "near byte 6: SETITEM requires DictSetter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, in := range [][]byte{c.data, zip(t, c.data)} {
				h, err := Read(bytes.NewReader(in))
				require.Nil(t, h)
				require.ErrorIs(t, err, ErrMalformed)
				require.ErrorContains(t, err, "malformed snapshot: "+c.want)
				require.NotContains(t, err.Error(), "\n")
			}
		})
	}
}

// Values inside each other without end need no marks. Nothing here walks down
// them, so depth costs memory alone, which is bounded.
func TestNestsWithoutMarks(t *testing.T) {
	const depth = 300_000
	for name, nest := range map[string]string{
		"lists":      strings.Repeat("]", depth) + strings.Repeat("a", depth-1),
		"tuples":     ")" + strings.Repeat("\x85", depth),
		"dicts":      strings.Repeat("}\x8c\x0ddevice_traces", depth) + "N" + strings.Repeat("s", depth),
		"in itself":  "]\x94h\x00a",
		"each twice": ")" + strings.Repeat("2\x86", depth), // 2^depth values, if they were counted out
	} {
		for _, at := range []string{"}\x8c\x0ddevice_traces%ss.", "}\x8c\x0ddevice_traces]%sas.", "}\x8c\x0ddevice_traces]]}\x8c\x06action%ssaas."} {
			t.Run(name, func(t *testing.T) {
				before, rest, _ := strings.Cut(at, "%s")
				data := []byte("\x80\x04" + before + nest + rest)
				h, err := Read(bytes.NewReader(data))
				require.Nil(t, h)
				require.Error(t, err)
				require.Less(t, len(err.Error()), 500)
				if name != "in itself" {
					_, err = Read(bytes.NewReader(data), WithMaxMemory(int64(len(data))))
					require.ErrorIs(t, err, ErrTooLarge)
				}
			})
		}
	}
}

// Each of the 256 bytes is an opcode that is let through, refused or unknown.
// The numbers are those of Python's pickletools.
func TestEveryOpcode(t *testing.T) {
	var known, refused int
	for code := range 256 {
		if code == opStop {
			known++
			continue
		}
		_, err := Read(bytes.NewReader(append([]byte{opProto, 4, byte(code)}, make([]byte, 64)...)))
		require.ErrorIs(t, err, ErrMalformed)
		switch o := opcodes[code]; {
		case o.name == "":
			require.ErrorContains(t, err, fmt.Sprintf("unknown opcode 0x%02x at byte 2", code))
		case o.refused != "":
			known++
			refused++
			require.ErrorContains(t, err, o.name+" at byte 2 is refused: "+o.refused)
		default:
			known++
			require.NotContains(t, err.Error(), "refused")
		}
	}
	require.Equal(t, 68, known)
	require.Equal(t, 15+3+9, refused)
}

func TestEveryPrefixAndFlip(t *testing.T) {
	data := dump(snapshotOf([]any{op("alloc", 512, 100, 0), op("free_requested", 512, 100, 0)}))
	for n := range data {
		_, err := Read(bytes.NewReader(data[:n]))
		require.ErrorIs(t, err, ErrMalformed, "cut to %d bytes", n)
	}
	for i := range data {
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			if h, err := Read(bytes.NewReader(flipped), WithMaxMemory(1<<20)); err == nil {
				checkHistory(t, h)
			}
		}
	}
}

// What a file can make us keep in memory stays below the scan's estimate, for
// the opcodes that make much of few bytes.
func TestEstimateCoversMemory(t *testing.T) {
	const times = 20_000
	for name, pattern := range map[string]string{
		"none": "N", "int": "J\x00\x01\x00\x00", "long": "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"float": "G\x00\x00\x00\x00\x00\x00\x00\x01", "string": "\x8c\x02ab", "empty string": "\x8c\x00",
		"bytes": "C\x01a", "bytearray": "\x96\x01\x00\x00\x00\x00\x00\x00\x00a",
		"dict": "}", "list": "]", "list of one": "]Na", "list of three": "](NNNe", "tuple": ")", "tuple of none": "(t",
		"tuple1": "N\x85", "tuple3": "NNN\x87", "tuple of many": "(NNNNNNNNNNNNNNNNNt",
		"full dict": "}(\x8c\x04sizeJ\x00\x01\x00\x00\x8c\x04addrJ\x00\x01\x00\x00u",
	} {
		data := []byte("\x80\x04](" + strings.Repeat(pattern, times) + "e.")
		kept := heapOf(t, data)
		_, err := scan(data, kept)
		require.ErrorIs(t, err, ErrTooLarge, "%s: %d bytes kept", name, kept)
	}
}

// heapOf is the number of bytes that the values of data keep.
func heapOf(t *testing.T, data []byte) int64 {
	fetched, err := scan(data, 1<<40)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	value, err := build(data, fetched, nil)
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(value)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// The slimmer stream means the same as the file: memo entries come out right,
// through frames, overwritten entries and entries nobody fetches.
func TestSlimStreamKeepsTheMemo(t *testing.T) {
	frame := func(body string) string {
		return "\x95" + string(binary.LittleEndian.AppendUint64(nil, uint64(len(body)))) + body
	}
	for name, body := range map[string]string{
		"memoize":       "]\x94(\x8c\x01a\x94\x8c\x01b\x94\x8c\x01c\x94h\x02h\x03e.",
		"put":           "]q\x00(\x8c\x01aq\x01\x8c\x01bq\x02\x8c\x01cr\x03\x00\x00\x00h\x02j\x03\x00\x00\x00e.",
		"overwritten":   "]q\x00(\x8c\x01aq\x01\x8c\x01bq\x01\x8c\x01c\x94h\x01h\x02e.",
		"frames":        "]\x94" + frame("(\x8c\x01a\x94\x8c\x01b\x94") + frame("") + frame("\x8c\x01c\x94h\x02h\x03e."),
		"after the end": "](\x8c\x01a\x8c\x01b\x8c\x01c\x8c\x01b\x8c\x01ce.rubbish\xff",
	} {
		data := []byte("\x80\x04" + body)
		fetched, err := scan(data, 1<<20)
		require.NoError(t, err, name)
		got, err := build(data, fetched, nil)
		require.NoError(t, err, name)
		require.Equal(t, []any{"a", "b", "c", "b", "c"}, got.(*list).items, name)
	}
}

func TestLibraryPanicIsAnError(t *testing.T) {
	err := guard(func() error {
		u := pickle.NewUnpickler(strings.NewReader("\x80\x02\x8a\x00.")) // an int of no bytes, which scan refuses
		_, err := u.Load()
		return err
	})
	require.ErrorContains(t, err, "the pickle library panicked: ")
}
