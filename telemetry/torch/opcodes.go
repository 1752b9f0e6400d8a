package torch

import (
	"encoding/binary"
	"fmt"
)

// opcode is what the scan needs to know of a pickle opcode. The set is that of
// Python's pickle module, protocols 2 to 5 (Python: Lib/pickletools.py
// describes each).
type opcode struct {
	name    string // empty: no such opcode
	refused string // why a snapshot may not have it; empty: it may
	arg     argument
	pops    int8  // items it takes from the stack above the last mark
	pushes  int8  // items it leaves there
	cost    int32 // bytes that what it makes takes in memory, its argument apart; an upper estimate
}

// argument is how an opcode's argument is laid out after it.
type argument uint8

const (
	fixed0 argument = iota // nothing
	fixed1                 // that many bytes
	fixed2
	fixed4
	fixed8
	counted1 // a count of that many bytes, little endian, and as many bytes as it says
	counted4
	counted8
)

var argumentWidth = [...]int{0, 1, 2, 4, 8, 1, 4, 8}

// The opcodes that scan or slimReader treat by themselves.
const (
	opMark       = '('
	opStop       = '.'
	opPop        = '0'
	opPopMark    = '1'
	opAppend     = 'a'
	opAppends    = 'e'
	opSetItems   = 'u'
	opTuple      = 't'
	opEmptyList  = ']'
	opEmptyDict  = '}'
	opBinGet     = 'h'
	opLongBinGet = 'j'
	opBinPut     = 'q'
	opLongBinPut = 'r'
	opProto      = 0x80
	opExt1       = 0x82
	opLong1      = 0x8a
	opLong4      = 0x8b
	opMemoize    = 0x94
	opFrame      = 0x95
)

// Why an opcode is refused.
const (
	callsCode = "it can make objects or call code, a snapshot is plain data"
	makesSet  = "a snapshot has no sets"
	textual   = "it is of pickle protocol 0, save the snapshot with protocol 2 or later"
)

// boxed is what a small value takes: gopickle keeps it in an interface.
const boxed = 16

var opcodes = [256]opcode{
	opMark:    {name: "MARK"},
	opStop:    {name: "STOP", pops: 1},
	opPop:     {name: "POP"},
	opPopMark: {name: "POP_MARK"},
	'2':       {name: "DUP", pops: 1, pushes: 2},

	'N':  {name: "NONE", pushes: 1},
	0x88: {name: "NEWTRUE", pushes: 1},
	0x89: {name: "NEWFALSE", pushes: 1},

	'J':     {name: "BININT", arg: fixed4, pushes: 1, cost: boxed},
	'K':     {name: "BININT1", arg: fixed1, pushes: 1, cost: boxed},
	'M':     {name: "BININT2", arg: fixed2, pushes: 1, cost: boxed},
	opLong1: {name: "LONG1", arg: counted1, pushes: 1, cost: 64},
	opLong4: {name: "LONG4", arg: counted4, pushes: 1, cost: 64},
	'G':     {name: "BINFLOAT", arg: fixed8, pushes: 1, cost: boxed},

	'T':  {name: "BINSTRING", arg: counted4, pushes: 1, cost: 2 * boxed},
	'U':  {name: "SHORT_BINSTRING", arg: counted1, pushes: 1, cost: 2 * boxed},
	'X':  {name: "BINUNICODE", arg: counted4, pushes: 1, cost: 2 * boxed},
	0x8c: {name: "SHORT_BINUNICODE", arg: counted1, pushes: 1, cost: 2 * boxed},
	0x8d: {name: "BINUNICODE8", arg: counted8, pushes: 1, cost: 2 * boxed},
	'B':  {name: "BINBYTES", arg: counted4, pushes: 1, cost: 3 * boxed},
	'C':  {name: "SHORT_BINBYTES", arg: counted1, pushes: 1, cost: 3 * boxed},
	0x8e: {name: "BINBYTES8", arg: counted8, pushes: 1, cost: 3 * boxed},
	0x96: {name: "BYTEARRAY8", arg: counted8, pushes: 1, cost: 3 * boxed},

	')': {name: "EMPTY_TUPLE", pushes: 1, cost: 32},
	// gopickle makes a tuple of its stack, which has room for 16 items from the start.
	opTuple:     {name: "TUPLE", pushes: 1, cost: 288},
	0x85:        {name: "TUPLE1", pops: 1, pushes: 1, cost: 48},
	0x86:        {name: "TUPLE2", pops: 2, pushes: 1, cost: 64},
	0x87:        {name: "TUPLE3", pops: 3, pushes: 1, cost: 80},
	opEmptyList: {name: "EMPTY_LIST", pushes: 1, cost: 32},
	opAppend:    {name: "APPEND", pops: 2, pushes: 1, cost: itemCost},
	opAppends:   {name: "APPENDS", pops: 1, pushes: 1},
	opEmptyDict: {name: "EMPTY_DICT", pushes: 1, cost: 112},
	's':         {name: "SETITEM", pops: 3, pushes: 1},
	opSetItems:  {name: "SETITEMS", pops: 1, pushes: 1},

	opBinGet:     {name: "BINGET", arg: fixed1, pushes: 1},
	opLongBinGet: {name: "LONG_BINGET", arg: fixed4, pushes: 1},
	opBinPut:     {name: "BINPUT", arg: fixed1, pops: 1, pushes: 1},
	opLongBinPut: {name: "LONG_BINPUT", arg: fixed4, pops: 1, pushes: 1},
	opMemoize:    {name: "MEMOIZE", pops: 1, pushes: 1},

	opProto: {name: "PROTO", arg: fixed1},
	opFrame: {name: "FRAME", arg: fixed8},

	'P':    {name: "PERSID", refused: callsCode},
	'Q':    {name: "BINPERSID", refused: callsCode},
	'R':    {name: "REDUCE", refused: callsCode},
	'b':    {name: "BUILD", refused: callsCode},
	'c':    {name: "GLOBAL", refused: callsCode},
	'i':    {name: "INST", refused: callsCode},
	'o':    {name: "OBJ", refused: callsCode},
	0x81:   {name: "NEWOBJ", refused: callsCode},
	opExt1: {name: "EXT1", refused: callsCode},
	0x83:   {name: "EXT2", refused: callsCode},
	0x84:   {name: "EXT4", refused: callsCode},
	0x92:   {name: "NEWOBJ_EX", refused: callsCode},
	0x93:   {name: "STACK_GLOBAL", refused: callsCode},
	0x97:   {name: "NEXT_BUFFER", refused: callsCode},
	0x98:   {name: "READONLY_BUFFER", refused: callsCode},

	0x8f: {name: "EMPTY_SET", refused: makesSet},
	0x90: {name: "ADDITEMS", refused: makesSet},
	0x91: {name: "FROZENSET", refused: makesSet},

	'F': {name: "FLOAT", refused: textual},
	'I': {name: "INT", refused: textual},
	'L': {name: "LONG", refused: textual},
	'S': {name: "STRING", refused: textual},
	'V': {name: "UNICODE", refused: textual},
	'd': {name: "DICT", refused: textual},
	'g': {name: "GET", refused: textual},
	'l': {name: "LIST", refused: textual},
	'p': {name: "PUT", refused: textual},
}

// lex reads the opcode at pos, which must be inside data, and its argument
// (without the count before it). end is where the next opcode begins.
func lex(data []byte, pos int) (op *opcode, arg []byte, end int, err error) {
	op = &opcodes[data[pos]]
	if op.name == "" {
		return nil, nil, 0, malformed("unknown opcode 0x%02x at byte %d", data[pos], pos)
	}
	if op.refused != "" {
		return nil, nil, 0, malformed("%s at byte %d is refused: %s", op.name, pos, op.refused)
	}
	rest := data[pos+1:]
	width := argumentWidth[op.arg]
	if width > len(rest) {
		return nil, nil, 0, truncated(op, pos, uint64(width), len(rest))
	}
	arg, rest = rest[:width], rest[width:]
	if op.arg < counted1 && data[pos] != opFrame {
		return op, arg, pos + 1 + width, nil
	}
	n := littleEndian(arg)
	if n > uint64(len(rest)) {
		return nil, nil, 0, truncated(op, pos, n, len(rest))
	}
	if data[pos] == opFrame { // its length is of the opcodes that follow
		return op, arg, pos + 1 + width, nil
	}
	return op, rest[:n], pos + 1 + width + int(n), nil
}

func truncated(op *opcode, pos int, want uint64, left int) error {
	return malformed("truncated: %s at byte %d wants %d bytes, %d are left", op.name, pos, want, left)
}

// littleEndian reads an unsigned number of 0, 1, 2, 4 or 8 bytes.
func littleEndian(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 8:
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
