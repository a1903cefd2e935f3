// Package version has the number that all programs of prsync share.
package version

// Version is the release that this tree becomes.
const Version = "0.1.0"
