package options

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// BuildInfo is what --version tells and this package cannot know.
type BuildInfo struct {
	Program     string // what it was called as; "rsync" makes it answer as rsync 3.5.0
	Version     string // of prsync, such as "1.0.0"
	Checksums   []string
	Compressors []string
	AuthDigests []string
	// ACLAt tells that ACLs can be set relative to a directory descriptor.
	ACLAt bool
}

// RsyncVersion is the version of rsync that this program stands in for. Scripts
// compare it.
const RsyncVersion = "3.5.0"

func (i BuildInfo) program() string {
	if i.Program == "" {
		return "prsync"
	}
	return i.Program
}

// version is the number that scripts look for behind the program's name.
func (i BuildInfo) version() string {
	if i.program() == "rsync" {
		return RsyncVersion
	}
	return i.Version
}

// capability is one word of the version text: present, absent, a number of
// bits, or a word that says in which way.
type capability struct {
	name string
	has  bool
	bits int
	how  string
}

func (i BuildInfo) capabilities() []capability {
	yes := func(name string) capability { return capability{name: name, has: true} }
	no := func(name string) capability { return capability{name: name} }
	bits := func(name string) capability { return capability{name: name, bits: 64} }
	return []capability{
		bits("files"), bits("inums"), bits("timestamps"), bits("long ints"),
		yes("socketpairs"), yes("symlinks"), yes("symtimes"), yes("hardlinks"),
		yes("hardlink-specials"), yes("hardlink-symlinks"), yes("IPv6"), yes("atimes"),
		yes("batchfiles"), yes("inplace"), yes("append"), yes("ACLs"),
		{name: "ACL-at", has: i.ACLAt}, yes("xattrs"), {name: "secluded-args", how: "optional"},
		yes("iconv"), yes("prealloc"), yes("stop-at"), no("crtimes"), yes("swarm"),
	}
}

func (i BuildInfo) optimizations() []capability {
	return []capability{{name: "SIMD-roll"}, {name: "asm-roll"}, {name: "openssl-crypto"}, {name: "asm-MD5"}}
}

// text is the capability as --version prints it.
func (c capability) text() string {
	switch {
	case c.bits > 0:
		return fmt.Sprintf("%d-bit %s", c.bits, c.name)
	case c.how != "":
		return c.how + " " + c.name
	case !c.has:
		return "no " + c.name
	}
	return c.name
}

// json is the capability as a member of an object: the tests of rsync look for
// one space behind the colon.
func (c capability) json() string {
	key := strings.NewReplacer(" ", "_", "-", "_").Replace(c.name)
	switch {
	case c.bits > 0:
		return fmt.Sprintf("%q: %d", strings.TrimSuffix(key, "s")+"_bits", c.bits)
	case c.how != "":
		return fmt.Sprintf("%q: %q", key, c.how)
	}
	return fmt.Sprintf("%q: %v", key, c.has)
}

// wrapped joins items with commas into lines of less than 79 columns.
func wrapped(items []string) string {
	var b strings.Builder
	line := ""
	for n, item := range items {
		if n < len(items)-1 {
			item += ","
		}
		if line != "" && len(line)+1+len(item) >= 75 {
			b.WriteString("   " + line + "\n")
			line = ""
		}
		line += " " + item
	}
	if line != "" {
		b.WriteString("   " + line + "\n")
	}
	return b.String()
}

// Version writes the answer to --version.
func Version(w io.Writer, info BuildInfo) error {
	var b strings.Builder
	writeVersion(&b, info)
	b.WriteString("\nprsync comes with ABSOLUTELY NO WARRANTY; it is free software under the Apache\nLicense, version 2.0.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func writeVersion(b *strings.Builder, info BuildInfo) {
	fmt.Fprintf(b, "%s  version %s  protocol version %d\n", info.program(), info.version(), ProtocolVersion)
	if info.program() == "rsync" {
		fmt.Fprintf(b, "This is prsync %s.\n", info.Version)
	} else {
		fmt.Fprintf(b, "Compatible with rsync %s.\n", RsyncVersion)
	}
	for _, part := range []struct {
		title string
		words []capability
	}{{"Capabilities", info.capabilities()}, {"Optimizations", info.optimizations()}} {
		var words []string
		for _, c := range part.words {
			words = append(words, c.text())
		}
		fmt.Fprintf(b, "%s:\n%s", part.title, wrapped(words))
	}
	for _, list := range info.lists() {
		fmt.Fprintf(b, "%s:\n    %s\n", list.title, strings.Join(list.names, " "))
	}
}

type nameList struct {
	title, key string
	names      []string
}

func (i BuildInfo) lists() []nameList {
	return []nameList{
		{"Checksum list", "checksum_list", i.Checksums},
		{"Compress list", "compress_list", i.Compressors},
		{"Daemon auth list", "daemon_auth_list", i.AuthDigests},
	}
}

// VersionJSON writes the answer to a repeated --version, in the layout of rsync:
// one space behind every colon.
func VersionJSON(w io.Writer, info BuildInfo) error {
	var b strings.Builder
	member := func(key, value string) {
		text, _ := json.Marshal(value) // a string never fails
		fmt.Fprintf(&b, "  %q: %s,\n", key, text)
	}
	b.WriteString("{\n")
	member("program", info.program())
	member("version", info.version())
	member("protocol", fmt.Sprintf("%d.0", ProtocolVersion))
	member("prsync", info.Version)
	for _, part := range []struct {
		key   string
		words []capability
	}{{"capabilities", info.capabilities()}, {"optimizations", info.optimizations()}} {
		var words []string
		for _, c := range part.words {
			words = append(words, c.json())
		}
		fmt.Fprintf(&b, "  %q: {\n%s  },\n", part.key, wrapped(words))
	}
	for _, list := range info.lists() {
		var names []string
		for _, name := range list.names {
			if !strings.HasPrefix(name, "(") { // an alias
				names = append(names, fmt.Sprintf("%q", name))
			}
		}
		fmt.Fprintf(&b, "  %q: [\n    %s\n  ],\n", list.key, strings.Join(names, ", "))
	}
	member("license", "Apache-2.0")
	b.WriteString("  \"caveat\": \"prsync comes with ABSOLUTELY NO WARRANTY\"\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
