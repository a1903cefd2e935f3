//go:build !amd64

package checksum

func rolling(b []byte) uint32 { return rollingGeneric(b) }
