// Package delta is the rsync algorithm: it describes a file by the sums of its
// blocks, finds those blocks at any offset of another file, and rebuilds that
// other file from blocks and literal bytes.
//
//	receiver: head := SumSizes(len(basis)); Sign(basis, head) → sums
//	sender:   Search(source, sums) → Literal, Match, Literal, …; file sum
//	receiver: Applier: basis + Literal, Match, … → new file; file sum
//
// The three steps see files as a Window, streams of tokens as an Output, and
// hold no more than a few blocks in memory; the sums of the basis, which the
// sender keeps, are the exception. Algorithm and limits are those of rsync
// 3.5.0 match.c, generator.c:sum_sizes_sqroot and receiver.c:receive_data.
package delta

// Output takes the tokens of one file in order. The Writer of package compress
// is one, and so is an Applier.
type Output interface {
	// Literal takes bytes that the basis lacks. p is valid during the call.
	Literal(p []byte) error
	// Match takes the index of a block of the basis and its bytes, which are
	// valid during the call.
	Match(block int32, data []byte) error
}

// RangeOutput is an Output that can take literals by reference, as a local
// copy does: p are the n = len(p) bytes of the source at off.
type RangeOutput interface {
	Output
	LiteralRange(off int64, p []byte) error
}

// Append is how --append continues a file that is taken to be a prefix.
type Append uint8

const (
	// AppendOff compares blocks.
	AppendOff Append = iota
	// AppendTail sends what lies past the basis and sums only that.
	AppendTail
	// AppendVerify does the same and includes the prefix in the file sum.
	AppendVerify
)
