package options

// attributeOptions follow in --help: how a transfer is done, and which files
// are updated and deleted.
var attributeOptions = []*option{
	{
		spec: "--dry-run, -n", exact: "dry-run",
		help: "only show what would be done",
		flag: func(o *Options) *bool { return &o.DryRun },
		man:  "Changes nothing and prints, with -v or -i, what a real run would.",
	},
	{
		spec: "--whole-file, -W", off: "no-whole-file no-W",
		lines: []line{
			{"--whole-file, -W", "send whole files, not differences"},
			{"--no-whole-file, --no-W", "send differences"},
		},
		on:   to(func(p *parser) *Choice { return &p.o.WholeFile }, Yes),
		undo: to(func(p *parser) *Choice { return &p.o.WholeFile }, No),
		man:  "Without the delta algorithm. The default when source and destination are both local paths.",
	},
	{
		spec: "--checksum-choice=STR", also: "cc",
		values: checksumNames,
		help:   "choose the checksum (also --cc)",
		text:   func(o *Options) *string { return &o.ChecksumChoice },
		man: "One name for all, or two with a comma: for the transfer and for --checksum. Names: auto, xxh128, xxh3, " +
			"xxh64, md5, md4, sha1, none. none turns --whole-file on. The default is negotiated.",
	},
	{
		spec: "--one-file-system, -x", off: "no-one-file-system no-x",
		help:  "stay on one file system",
		count: func(o *Options) *int { return &o.OneFileSystem },
		man:   "Does not descend into other file systems; a mount point becomes an empty directory. Repeated, it is left out.",
	},
	{
		spec: "--block-size=SIZE, -B",
		help: "fix the block size of checksums",
		on:   (*parser).setBlockSize,
		man:  "Otherwise the size follows from the size of each file. At most 128K.",
	},
	{
		spec: "--rsh=COMMAND, -e", exact: "rsh",
		help: "the remote shell",
		on: func(p *parser, arg string, _ int) error {
			p.o.Rsh, p.o.RshSet = arg, true
			return nil
		},
		man: "The command, with options if need be, that reaches the other host; split at spaces, with simple quotes. " +
			"Default: RSYNC_RSH, else ssh. With :: it carries a connection to a daemon.",
	},
	{
		spec: "--rsync-path=PROGRAM",
		help: "the program to run on the other host",
		text: func(o *Options) *string { return &o.RsyncPath },
		man:  "A path, or a command line for the remote shell. Default: rsync.",
	},
	{
		spec: "--existing", also: "ignore-non-existing",
		lines: []line{
			{"--existing", "create no new files on the receiver"},
			{"--ignore-non-existing", "same as --existing"},
		},
		flag: func(o *Options) *bool { return &o.Existing },
		man:  "Only files and directories that exist at the destination are updated.",
	},
	{
		spec: "--ignore-existing",
		help: "update no file that exists on the receiver",
		flag: func(o *Options) *bool { return &o.IgnoreExisting },
		man:  "Files that exist at the destination are left alone; existing directories are not, or nothing in them could be done.",
	},
	{
		spec: "--remove-source-files",
		help: "remove files at the source once they are transferred",
		on: func(p *parser, _ string, _ int) error {
			p.o.RemoveSourceFiles, p.o.RemoveSentFiles = true, false
			return nil
		},
		man: "The sender removes each file, though no directory, that the receiver has completed.",
	},
	{
		spec: "--remove-sent-files", hidden: true,
		help: "older name of --remove-source-files",
		on: func(p *parser, _ string, _ int) error {
			p.o.RemoveSourceFiles, p.o.RemoveSentFiles = true, true
			return nil
		},
	},
	{
		spec: "--delete-during", also: "del",
		lines: []line{{"--del", "same as --delete-during"}},
		on:    to(func(p *parser) *int { return &p.delDuring }, 1),
		man:   "Deletes in each directory just before its files are looked at. The default with protocol 30 and newer.",
	},
	{
		spec: "--delete",
		help: "delete what the source does not have",
		on:   to(func(p *parser) *bool { return &p.delPlain }, true),
		man: "Removes files from the directories at the destination that are not at the source. Needs --recursive or " +
			"--dirs; what a filter rule excludes stays, unless --delete-excluded. Try it with --dry-run first.",
	},
	{
		spec: "--delete-before",
		lines: []line{
			{"--delete-before", "delete before the transfer"},
			{"--delete-during", "delete during the transfer"},
		},
		on:  to(func(p *parser) *bool { return &p.delBefore }, true),
		man: "Deletes before the transfer begins, which makes room but needs the whole file list first.",
	},
	{
		spec: "--delete-delay",
		help: "find during the transfer, delete after it",
		on:   to(func(p *parser) *int { return &p.delDuring }, 2),
		man:  "What is to be deleted is noted during the transfer and deleted at its end.",
	},
	{
		spec: "--delete-after",
		help: "delete after the transfer",
		on:   to(func(p *parser) *bool { return &p.delAfter }, true),
		man:  "Deletes after the transfer, by the rules that per-directory filter files have by then.",
	},
	{
		spec: "--delete-excluded",
		help: "delete excluded files as well",
		flag: func(o *Options) *bool { return &o.DeleteExcluded },
		man:  "Deletes at the destination also what filter rules keep out of the transfer. Implies --delete.",
	},
	{
		spec: "--ignore-missing-args",
		help: "named sources may be missing",
		on:   addBits(1),
		man:  "A source named on the command line or in --files-from that does not exist is no error.",
	},
	{
		spec: "--delete-missing-args",
		help: "delete at the destination what a missing source names",
		on:   addBits(2),
		man:  "Each missing source is a request to delete the same name at the destination.",
	},
	{
		spec: "--ignore-errors", off: "no-ignore-errors",
		help: "delete in spite of read errors",
		flag: func(o *Options) *bool { return &o.IgnoreErrors },
		man:  "Normally nothing is deleted when the sender could not read something.",
	},
	{
		spec: "--force", off: "no-force",
		help: "delete directories even if not empty",
		flag: func(o *Options) *bool { return &o.Force },
		man:  "Removes a directory in the way of something else together with its content. Needless with --delete.",
	},
	{
		spec: "--max-delete=NUM", numeric: true,
		help: "delete at most NUM files",
		on: func(p *parser, _ string, n int) error {
			p.o.MaxDelete = max(n, 0)
			return nil
		},
		man: "Beyond that deletions are skipped and the exit status is 25. 0 deletes nothing and tells what would be.",
	},
	{
		spec: "--max-size=SIZE",
		help: "transfer no file larger than SIZE",
		on:   sizeTo("max-size", func(p *parser) *int64 { return &p.o.MaxSize }),
		man: "A number with an optional suffix: K, M, G, T, P (or KiB, …) for powers of 1024, KB, … for powers of 1000, " +
			"and an optional +1 or -1. A transfer rule, not an exclusion: nothing is deleted by it.",
	},
	{
		spec: "--min-size=SIZE",
		help: "transfer no file smaller than SIZE",
		on:   sizeTo("min-size", func(p *parser) *int64 { return &p.o.MinSize }),
	},
	{
		spec: "--max-alloc=SIZE",
		help: "limit a single allocation of memory",
		on:   (*parser).setMaxAlloc,
		man:  "The largest piece of memory asked for at once; default 1G. Environment: RSYNC_MAX_ALLOC.",
	},
	{
		spec: "--partial", off: "no-partial",
		help: "keep partly transferred files",
		flag: func(o *Options) *bool { return &o.Partial },
		man:  "An interrupted file keeps what has arrived, so that the next run can go on from there.",
	},
	{
		spec: "--partial-dir=DIR",
		help: "keep partly transferred files in DIR",
		text: func(o *Options) *string { return &o.PartialDir },
		man: "Implies --partial. A relative DIR is beside each file, is created and removed as needed, and is excluded " +
			"from the transfer. RSYNC_PARTIAL_DIR does the same for --partial.",
	},
	{
		spec: "--delay-updates", off: "no-delay-updates",
		help: "put all files into place at the end",
		flag: func(o *Options) *bool { return &o.DelayUpdates },
		man:  "Finished files wait in the partial directory, .~tmp~ by default, and are renamed in quick succession.",
	},
	{
		spec: "--prune-empty-dirs, -m", off: "no-prune-empty-dirs no-m",
		help: "leave out directories with nothing in them",
		flag: func(o *Options) *bool { return &o.PruneEmptyDirs },
		man:  "The receiver drops chains of directories that hold no file of the transfer.",
	},
	{
		spec: "--numeric-ids", off: "no-numeric-ids",
		help: "take users and groups by number",
		flag: func(o *Options) *bool { return &o.NumericIDs },
		man:  "Otherwise owners and groups are matched by name, and by number where there is no such name.",
	},
	{
		spec: "--usermap=STRING",
		help: "map user names",
		on:   (*parser).setUsermap,
		man: "Comma-separated FROM:TO pairs; FROM is a name, a pattern, a number, a range LOW-HIGH, or empty for ids " +
			"without a name. The first match wins. Implies --owner.",
	},
	{
		spec: "--groupmap=STRING",
		help: "map group names",
		on:   (*parser).setGroupmap,
		man:  "Like --usermap, for groups. Implies --group.",
	},
	{
		spec: "--chown=USER:GROUP",
		help: "give everything to USER and GROUP",
		on:   (*parser).setChown,
		man:  "Either part may be empty. Short for --usermap=*:USER --groupmap=*:GROUP.",
	},
	{
		spec: "--timeout=SECONDS", off: "no-timeout", numeric: true,
		help: "give up after SECONDS without data",
		num:  func(o *Options) *int { return &o.Timeout },
		man:  "0, the default, waits forever.",
	},
	{
		spec: "--contimeout=SECONDS", off: "no-contimeout", numeric: true,
		help: "give up connecting to a daemon after SECONDS",
		num:  func(o *Options) *int { return &o.ContTimeout },
	},
	{
		spec: "--ignore-times, -I",
		help: "compare all files, whatever time and size",
		flag: func(o *Options) *bool { return &o.IgnoreTimes },
		man:  "Turns the quick check off, so that every file goes through the transfer.",
	},
	{
		spec: "--size-only",
		help: "files of the same size are up to date",
		flag: func(o *Options) *bool { return &o.SizeOnly },
	},
	{
		spec: "--modify-window=NUM, -@", numeric: true,
		help: "times within NUM seconds are equal",
		on: func(p *parser, _ string, n int) error {
			p.o.ModifyWindow, p.o.told.windowSet = n, true
			return nil
		},
		man: "0, the default, compares whole seconds; -1 nanoseconds too; 1 helps with FAT, which counts in steps of two seconds.",
	},
	{
		spec: "--temp-dir=DIR, -T",
		help: "create temporary files in DIR",
		text: func(o *Options) *string { return &o.TempDir },
		man:  "If DIR is on another file system, finished files are copied from there, which is not atomic.",
	},
	{
		spec: "--fuzzy, -y", off: "no-fuzzy no-y",
		help:  "take a similar file as the basis of a new one",
		count: func(o *Options) *int { return &o.Fuzzy },
		man:   "Looks for a file of the same size and time or of a similar name beside the destination; repeated, also in the alternate directories below.",
	},
	{
		spec: "--compare-dest=DIR",
		help: "files that are the same in DIR are up to date",
		on:   addDest(CompareDest),
		man:  "Files that DIR holds unchanged are not transferred: the destination gets the differences. Up to 20 times.",
	},
	{
		spec: "--copy-dest=DIR",
		help: "... and are copied from there",
		on:   addDest(CopyDest),
		man:  "Like --compare-dest, but unchanged files are copied from DIR.",
	},
	{
		spec: "--link-dest=DIR",
		help: "... and are linked to the ones there",
		on:   addDest(LinkDest),
		man:  "Like --copy-dest, but with hard links: the usual way of making snapshots. Attributes must be equal too.",
	},
}

// transferOptions follow in --help: compression and the choice of files.
var transferOptions = []*option{
	{
		spec: "--compress, -z", off: "no-compress no-z",
		help: "compress the data on the way",
		on: func(p *parser, _ string, _ int) error {
			p.compress++
			return nil
		},
		undo: func(p *parser, _ string, _ int) error {
			p.compress, p.o.CompressChoice, p.choiceSet = 0, "", false
			return nil
		},
		man: "With the best method that both sides know. Files whose suffix tells that they are compressed are sent as they are.",
	},
	{
		spec: "--old-compress", hidden: true,
		help: "same as --compress-choice=zlib",
		on:   chooseCompress("zlib"),
	},
	{
		spec: "--new-compress", hidden: true,
		help: "same as --compress-choice=zlibx",
		on:   chooseCompress("zlibx"),
	},
	{
		spec: "--compress-choice=STR", also: "zc",
		values: compressNames,
		help:   "choose the compression (also --zc)",
		on: func(p *parser, arg string, _ int) error {
			return chooseCompress(arg)(p, arg, 0)
		},
		man: "One of auto, zstd, lz4, zlibx, zlib, none. Any but none implies --compress. Environment: RSYNC_COMPRESS_LIST.",
	},
	{
		spec: "--compress-level=NUM", also: "zl", numeric: true,
		help: "choose the compression level (also --zl)",
		on: func(p *parser, _ string, n int) error {
			p.o.CompressLevel, p.o.CompressLevelSet = n, n != notSpecified
			return nil
		},
		man: "Implies --compress. zstd: -131072 to 22, default 3; zlib and zlibx: 1 to 9, default 6; lz4 has no levels.",
	},
	{
		spec: "--compress-threads=NUM", also: "zt", numeric: true,
		help: "choose the compression threads (also --zt)",
		num:  func(o *Options) *int { return &o.CompressThreads },
		man:  "For zstd: that many threads beside the sender; 0, the default, none. A daemon allows 8.",
	},
	{
		spec: "--skip-compress=LIST",
		help: "do not compress files with a suffix of LIST",
		on: func(p *parser, arg string, _ int) error {
			p.o.SkipCompress, p.o.SkipCompressSet = arg, true
			return nil
		},
		man: "Suffixes without the dot, separated by slashes; [..] matches one character of a set. Replaces the list that is built in.",
	},
	{
		spec: "--cvs-exclude, -C",
		help: "leave out what CVS would",
		flag: func(o *Options) *bool { return &o.CVSExclude },
		man:  "Excludes editor, object and version control files, and what ~/.cvsignore, CVSIGNORE and each .cvsignore name.",
	},
	{
		spec: "--filter=RULE, -f",
		help: "add a filter RULE",
		on:   addRule(FilterRule),
		man:  "Rules are tried in the order of the command line, and the first that matches decides; see FILTER RULES.",
	},
	{
		spec: "-F",
		lines: []line{
			{"-F", "same as --filter='dir-merge /.rsync-filter'"},
			{"", "repeated: --filter='- .rsync-filter' too"},
		},
		on:  (*parser).addPerDir,
		man: "Reads rules from a file .rsync-filter in each directory; repeated, leaves those files out of the transfer.",
	},
	{
		spec: "--exclude=PATTERN",
		help: "leave out what matches PATTERN",
		on:   addRule(FilterExclude),
	},
	{
		spec: "--exclude-from=FILE",
		help: "read exclude patterns from FILE",
		on:   addRule(FilterExcludeFrom),
		man:  "One pattern a line; blank lines and those that start with ; or # are skipped. A FILE of - is standard input.",
	},
	{
		spec: "--include=PATTERN",
		help: "keep what matches PATTERN",
		on:   addRule(FilterInclude),
	},
	{
		spec: "--include-from=FILE",
		help: "read include patterns from FILE",
		on:   addRule(FilterIncludeFrom),
	},
	{
		spec: "--files-from=FILE",
		help: "read the names to transfer from FILE",
		text: func(o *Options) *string { return &o.FilesFrom },
		man: "Names relative to the source, one a line. Implies --relative and --dirs, and --archive does not recurse. " +
			"FILE may be - or, for a list on the other host, :FILE or HOST:FILE.",
	},
	{
		spec: "--from0, -0", off: "no-from0", exact: "from0",
		help: "lists and filter files end their lines with a zero byte",
		flag: func(o *Options) *bool { return &o.From0 },
		man:  "Holds for --exclude-from, --include-from, --files-from and merged files, not for --cvs-exclude.",
	},
	{
		spec: "--old-args", off: "no-old-args",
		help: "let the remote shell split and expand arguments",
		on: func(p *parser, _ string, _ int) error {
			p.oldArgs = max(p.oldArgs, 0) + 1
			return nil
		},
		undo: to(func(p *parser) *int { return &p.oldArgs }, 0),
		man: "Sends file names as old versions did, for the remote shell to split at spaces; repeated, option arguments " +
			"too. Environment: RSYNC_OLD_ARGS.",
	},
	{
		spec: "--secluded-args, -s", also: "protect-args", off: "no-secluded-args no-protect-args no-s", exact: "secluded-args",
		help: "send arguments over the connection",
		on:   to(func(p *parser) *int { return &p.secluded }, 1),
		undo: to(func(p *parser) *int { return &p.secluded }, 0),
		man: "File names and most options never pass through the remote shell. Wildcards are expanded by the other side. " +
			"Also --protect-args. Environment: RSYNC_PROTECT_ARGS.",
	},
	{
		spec: "--trust-sender",
		help: "do not check the sender's file list",
		flag: func(o *Options) *bool { return &o.TrustSender },
		man:  "Otherwise the receiver refuses names that it did not ask for, or that its rules exclude.",
	},
	{
		spec: "--copy-as=USER[:GROUP]",
		help: "do the copy as USER and GROUP",
		text: func(o *Options) *string { return &o.CopyAs },
		man:  "Root gives up its rights for the transfer itself, on this side. GROUP defaults to the groups of USER.",
	},
}
