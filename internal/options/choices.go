package options

import (
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
)

// The names that --checksum-choice and --compress-choice take.
var (
	checksumNames = []string{"xxh128", "xxh3", "xxh64", "xxhash", "md5", "md4", "sha1", "none"}
	compressNames = []string{"zstd", "lz4", "zlibx", "zlib", "none"}
)

func lookup(names []string, name string) string {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n
		}
	}
	return ""
}

func (p *parser) finishChecksum() error {
	p.o.ChecksumList = p.env.getenv("RSYNC_CHECKSUM_LIST")
	choice := p.o.ChecksumChoice
	if !p.wasGiven("checksum-choice") || strings.EqualFold(choice, "auto") || strings.EqualFold(choice, "auto,auto") {
		p.o.ChecksumChoice = ""
		return nil
	}
	transfer, file, two := strings.Cut(choice, ",")
	if !two {
		file = transfer
	}
	var found [2]string
	for i, name := range []string{transfer, file} {
		if strings.EqualFold(name, "auto") {
			found[i] = "md5"
			continue
		}
		if found[i] = lookup(checksumNames, name); found[i] == "" {
			if i == 0 {
				name = choice
			}
			return exitcode.New(exitcode.Unsupported, "unknown checksum name: %s", name)
		}
	}
	if found[0] == "none" {
		p.o.WholeFile = Yes
	}
	return p.checkServerList("checksum", choice, p.o.ChecksumList, checksumNames, found[:])
}

// checkServerList refuses on a server what its list of names leaves out.
// (rsync 3.5.0 compat.c:validate_choice_vs_env)
func (p *parser) checkServerList(kind, choice, list string, known, chosen []string) error {
	if !p.o.Server {
		return nil
	}
	if _, server, two := strings.Cut(list, "&"); two {
		list = server
	}
	if strings.TrimSpace(list) == "" {
		return nil
	}
	allowed := map[string]bool{}
	for _, name := range strings.Fields(list) {
		allowed[canonicalSum(lookup(known, name))] = true
	}
	for _, name := range chosen {
		if !allowed[canonicalSum(name)] {
			return exitcode.New(exitcode.Unsupported, "Your --%s-choice value (%s) was refused by the server.", kind, choice)
		}
	}
	return nil
}

func canonicalSum(name string) string {
	if name == "xxhash" {
		return "xxh64"
	}
	return name
}

func (p *parser) finishCompress() error {
	o := p.o
	o.CompressList = p.env.getenv("RSYNC_COMPRESS_LIST")
	if !p.choiceSet && p.compress > 1 {
		o.CompressChoice, p.choiceSet = "zlibx", true
	}
	if strings.EqualFold(o.CompressChoice, "auto") {
		o.CompressChoice, p.choiceSet = "", false
	}
	o.Compress = p.compress > 0
	o.told.compressAsked = o.Compress
	if p.choiceSet {
		name := lookup(compressNames, o.CompressChoice)
		if name == "" {
			return exitcode.New(exitcode.Unsupported, "unknown compress name: %s", o.CompressChoice)
		}
		if err := p.checkServerList("compress", o.CompressChoice, o.CompressList, compressNames, []string{name}); err != nil {
			return err
		}
		o.Compress = name != "none"
		if !o.Compress {
			o.CompressChoice = name
		}
	}
	if o.Compress || o.CompressLevelSet {
		o.Compress = true
		if row := p.env.Refuse.named("compress"); row != nil {
			return p.refused(row)
		}
		o.CompressThreads = max(o.CompressThreads, 0)
		if p.env.Daemon {
			o.CompressThreads = min(o.CompressThreads, maxDaemonThreads)
		}
	}
	return nil
}
