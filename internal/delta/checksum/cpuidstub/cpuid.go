// Package cpuid stands in for github.com/klauspost/cpuid/v2, which finds out
// everything about a processor when a program starts: 0.35 ms of every run of
// prsync, since a virtual machine traps each of its questions, and a tenth of a
// run that does nothing. Its users here, zeebo/xxh3 and blake3 (of the swarm's
// library), want three answers, which golang.org/x/sys/cpu has already. go.work
// replaces the module with this one.
package cpuid

import "golang.org/x/sys/cpu"

// FeatureID names an instruction set.
type FeatureID int

// The instruction sets that are asked for.
const (
	AVX2 FeatureID = iota
	AVX512F
	SSE2
)

// CPUInfo answers for the processor that runs the program.
type CPUInfo struct{}

// CPU is the processor.
var CPU CPUInfo

// Has reports whether the processor, and the system, can be used so.
func (CPUInfo) Has(id FeatureID) bool {
	switch id {
	case AVX2:
		return cpu.X86.HasAVX2
	case AVX512F:
		return cpu.X86.HasAVX512F
	case SSE2:
		return cpu.X86.HasSSE2
	}
	return false
}

// Supports reports whether Has holds for all of ids.
func (c CPUInfo) Supports(ids ...FeatureID) bool {
	for _, id := range ids {
		if !c.Has(id) {
			return false
		}
	}
	return true
}
