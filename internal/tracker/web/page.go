package web

import "bytes"

// HTML returns the status page.
func (s *Status) HTML() ([]byte, error) {
	var b bytes.Buffer
	err := page.Execute(&b, s)
	return b.Bytes(), err
}
