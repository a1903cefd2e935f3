package content

// Signature is a content's published block signature: a receiver matches what
// it already holds against it without asking the host to read the file.
// Rolling and strong sums are those of internal/delta over blocks of BlockLen
// bytes: rsync's rolling checksum and the first StrongLen bytes of XXH3-128
// with seed 0, both independent of any connection.
type Signature struct {
	Length    int64
	BlockLen  int32
	StrongLen int32
	// Rolling has one sum per block, the last one over the remainder.
	Rolling []uint32
	// Strong has StrongLen bytes per block.
	Strong []byte
}

// Blocks returns the number of blocks of the content.
func (s *Signature) Blocks() int { return len(s.Rolling) }
