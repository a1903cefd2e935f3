package daemon

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	words := []string{"", "sh", "a\x00b\xff\n", strings.Repeat("x", 1000), ""}
	var b bytes.Buffer
	if err := writeWords(&b, words...); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	got, err := readWords(bytes.NewReader(whole), len(words))
	if err != nil || !slices.Equal(got, words) {
		t.Errorf("got %q, %v", got, err)
	}
	for n := 1; n < len(whole); n++ {
		if _, err := readWords(bytes.NewReader(whole[:n]), len(words)); !errors.Is(err, errMessage) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := readWords(strings.NewReader(""), 1); err != io.EOF {
		t.Errorf("no message: %v", err)
	}
	if _, err := readWords(strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 1); !errors.Is(err, errMessage) {
		t.Errorf("a huge length: %v", err)
	}
}

func TestHandoff(t *testing.T) {
	want := handoff{Module: "m\x00\xff", Protocol: 31, Addr: "::1", Host: "h", User: "u", ReadOnly: true, EarlyInput: []byte("\x00early"), Shell: true}
	for range 2 {
		var b bytes.Buffer
		if err := writeWords(&b, want.words()...); err != nil {
			t.Fatal(err)
		}
		got, err := readHandoff(&b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		want = handoff{}
	}
}
