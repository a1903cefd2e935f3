// Package wire reads and writes the lowest layer of rsync's protocol: integers
// in their several encodings, and the multiplexed stream that carries file data
// and messages on one connection.
//
// Errors stick: after the first failure every read returns zero values and
// every write does nothing, so that a codec is a straight run of calls with one
// look at Err at its end. man/prsync-protocol.5 describes the layouts;
// rsync 3.5.0 io.c is where they come from.
package wire
