package options

import "github.com/prsync/prsync/internal/exitcode"

// connectionOptions end the --help of rsync: the connection, what is printed,
// and batches.
var connectionOptions = []*option{
	{
		spec: "--address=ADDRESS",
		help: "local address for the connection to a daemon",
		text: func(o *Options) *string { return &o.Address },
	},
	{
		spec: "--port=PORT", numeric: true,
		help: "port of the daemon, for HOST::MODULE",
		num:  func(o *Options) *int { return &o.Port },
		man:  "Default 873. A port in an rsync:// URL wins.",
	},
	{
		spec: "--sockopts=OPTIONS",
		help: "socket options",
		text: func(o *Options) *string { return &o.Sockopts },
		man:  "Comma-separated, such as SO_SNDBUF=65536, for the connection to a daemon.",
	},
	{
		spec: "--blocking-io", off: "no-blocking-io",
		help: "use blocking I/O with the remote shell",
		on:   to(func(p *parser) *Choice { return &p.o.BlockingIO }, Yes),
		undo: to(func(p *parser) *Choice { return &p.o.BlockingIO }, No),
		man:  "The default for rsh and remsh only.",
	},
	{
		spec:   "--outbuf=N|L|B",
		values: []string{"None", "Line", "Block"},
		help:   "buffer the output: None, Line, Block",
		on:     (*parser).setOutbuf,
		man:    "Also the whole words, and U(nbuffered) and F(ull).",
	},
	{
		spec: "--stats",
		help: "print statistics at the end",
		flag: func(o *Options) *bool { return &o.Stats },
		man:  "How many files, how many bytes, how much of it was found at the destination, and what the swarm contributed.",
	},
	{
		spec: "--8-bit-output, -8", off: "no-8-bit-output no-8",
		help: "print bytes above 127 as they are",
		flag: func(o *Options) *bool { return &o.EightBit },
		man:  "Otherwise bytes that do not print in the current character set appear as \\#ooo, three octal digits.",
	},
	{
		spec: "--human-readable, -h", off: "no-human-readable no-h",
		help:  "print numbers with units",
		count: func(o *Options) *int { return &o.HumanReadable },
		man:   "Once: units of 1000; twice: of 1024. Without, digits are grouped; --no-h prints digits only.",
	},
	{
		spec: "--progress", off: "no-progress",
		help: "show progress",
		flag: func(o *Options) *bool { return &o.Progress },
		man:  "A line for each file that moves on. --info=progress2 shows the whole transfer in one line. SIGVTALRM, sent to a client that shows none, asks for one such line behind the file in work.",
	},
	{
		spec: "-P",
		help: "same as --partial --progress",
		on:   (*parser).setPartialProgress,
	},
	{
		spec: "--itemize-changes, -i", off: "no-itemize-changes no-i",
		help:  "print a line of changes for every file",
		count: func(o *Options) *int { return &o.ItemizeChanges },
		man: "Eleven characters before the name: what is done, the kind of file, and a letter for each attribute that " +
			"differs. Repeated, unchanged files are listed too.",
	},
	{
		spec: "--remote-option=OPT, -M",
		help: "pass OPT to the other side only",
		on:   (*parser).addRemoteOption,
		man:  "One option a time: -M--fake-super, or -M --log-file=FILE as -M--log-file=FILE.",
	},
	{
		spec: "--out-format=FORMAT", also: "log-format", exact: "log-format",
		help: "print a line of this FORMAT for every file",
		on: func(p *parser, arg string, _ int) error {
			p.o.OutFormat, p.o.OutFormatSet = arg, true
			return nil
		},
		man: "Percent escapes as rsyncd.conf(5) has them under \"log format\". -v stands for %n%L, -i for %i %n%L.",
	},
	{
		spec: "--log-file=FILE",
		help: "log to FILE what is done",
		text: func(o *Options) *string { return &o.LogFile },
		man:  "On this side; -M--log-file=FILE logs on the other.",
	},
	{
		spec: "--log-file-format=FMT",
		help: "log lines of this FMT",
		text: func(o *Options) *string { return &o.LogFileFormat },
		man:  "Default: %i %n%L.",
	},
	{
		spec: "--password-file=FILE",
		help: "read the daemon's password from FILE",
		text: func(o *Options) *string { return &o.PasswordFile },
		man:  "The first line. Others may not be able to read FILE; - is standard input. Environment: RSYNC_PASSWORD.",
	},
	{
		spec: "--early-input=FILE",
		help: "send FILE to a daemon's early exec command",
		text: func(o *Options) *string { return &o.EarlyInput },
		man:  "At most 5K.",
	},
	{
		spec: "--list-only",
		help: "list the files, copy none",
		on:   to(func(p *parser) *bool { return &p.o.told.listAsked }, true),
		man:  "Implied when only a source is named.",
	},
	{
		spec: "--bwlimit=RATE", off: "no-bwlimit",
		help: "limit the bandwidth",
		on:   (*parser).setBwlimit,
		undo: to(func(p *parser) *int64 { return &p.o.Bwlimit }, 0),
		man:  "Units of 1024 bytes per second, or with a suffix as for --max-size. Swarm traffic counts. 0 is no limit.",
	},
	{
		spec: "--stop-after=MINS", also: "time-limit",
		help: "stop after MINS minutes",
		on:   (*parser).setStopAfter,
		man:  "Also --time-limit. What is not finished by then is left for the next run.",
	},
	{
		spec: "--stop-at=y-m-dTh:m",
		help: "stop at a point in time",
		on:   (*parser).setStopAt,
		man:  "Parts may be left out from the front: 23:59 is the next time it is that late, 1-30 the next 30 January, 3T14:00 the next 3rd at two.",
	},
	{
		spec: "--fsync",
		help: "fsync every written file",
		flag: func(o *Options) *bool { return &o.Fsync },
	},
	{
		spec: "--write-batch=FILE",
		help: "also write the update into FILE",
		on:   setBatch(BatchWrite),
		man:  "With a script FILE.sh that applies it to another copy of the destination.",
	},
	{
		spec: "--only-write-batch=FILE",
		help: "only write the update into FILE",
		on:   setBatch(BatchOnlyWrite),
		man:  "The destination stays as it is.",
	},
	{
		spec: "--read-batch=FILE",
		help: "apply the update in FILE",
		on:   setBatch(BatchRead),
		man:  "A FILE of - is standard input.",
	},
	{
		spec: "--protocol=NUM", numeric: true,
		help: "speak an older protocol version",
		num:  func(o *Options) *int { return &o.Protocol },
		man:  "27 to 32. Useful when writing a batch for an older version.",
	},
	{
		spec: "--iconv=CONVERT_SPEC", off: "no-iconv", exact: "iconv no-iconv",
		help: "convert the character set of file names",
		text: func(o *Options) *string { return &o.Iconv },
		man:  "LOCAL,REMOTE, or . for the locale's on both sides; - turns it off. Environment: RSYNC_ICONV.",
	},
	{
		spec: "--checksum-seed=NUM", numeric: true, exact: "checksum-seed",
		help: "set the seed of the checksums",
		on: func(p *parser, _ string, n int) error {
			p.o.ChecksumSeed = int32(n)
			return nil
		},
		man: "0, the default, takes the time. A fixed one makes runs repeatable.",
	},
	{
		spec: "--ipv4, -4", help: "prefer IPv4",
		on: to(func(p *parser) *Family { return &p.o.Family }, IPv4),
	},
	{
		spec: "--ipv6, -6", help: "prefer IPv6",
		on: to(func(p *parser) *Family { return &p.o.Family }, IPv6),
	},
	{
		spec: "--version, -V", help: "print version and capabilities; as JSON when repeated",
		on: func(p *parser, _ string, _ int) error {
			p.versions++
			return nil
		},
	},
	{
		spec: "--help", lines: []line{{"--help, -h (*)", "print this text (* -h only when alone)"}},
		help: "print a summary of the options; -h does so only when it stands alone",
		on: func(*parser, string, int) error {
			return &request{ActionHelp}
		},
	},
}

// swarmOptions are ours alone.
var swarmOptions = []*option{
	{
		spec: "--swarm=MODE", help: "use a swarm: auto, off or require (default: auto)",
		values: []string{"auto", "off", "require"},
		on:     (*parser).setSwarm,
		man: "auto takes the bulk of new data from everyone who holds it, when the other side offers a swarm or a " +
			"tracker is named; off never does; require fails without one.",
	},
	{
		spec: "--swarm-tracker=URL", help: "ask this tracker, for senders that offer none",
		on:  (*parser).setSwarmTracker,
		man: "The central host's http:// or https:// URL. Files are looked up by path, size and modification time.",
	},
	{
		spec: "--swarm-min-size=SIZE", help: "leave smaller files to the connection (default: 4K)",
		on: sizeTo("swarm-min-size", func(p *parser) *int64 { return &p.o.Swarm.MinSize }),
	},
	{
		spec: "--swarm-listen=[ADDR]:PORT", help: "accept peers there (default: any free port)",
		on: (*parser).setSwarmListen,
	},
	{
		spec: "--swarm-upload-limit=RATE", help: "limit what is sent to peers",
		on:  rateTo("swarm-upload-limit", func(p *parser) *int64 { return &p.o.Swarm.UploadLimit }),
		man: "Units of 1024 bytes per second, as for --bwlimit, which bounds it too. 0 is no limit.",
	},
	{
		spec: "--swarm-download-limit=RATE", help: "limit what is taken from peers",
		on: rateTo("swarm-download-limit", func(p *parser) *int64 { return &p.o.Swarm.DownloadLimit }),
	},
	{
		spec: "--swarm-linger=TIME", help: "go on seeding for TIME after the end (default: 0)",
		on:  timeTo("swarm-linger", func(p *parser) *int64 { return (*int64)(&p.o.Swarm.Linger) }),
		man: "Seconds, or a number with s, m or h.",
	},
	{
		spec: "--swarm-stall=TIME", help: "without progress for TIME, use the connection (default: 20s)",
		on:  timeTo("swarm-stall", func(p *parser) *int64 { return (*int64)(&p.o.Swarm.Stall) }),
		man: "The file goes on as a plain transfer, with what has been fetched as its basis.",
	},
}

// internalOptions are not for users: between client and server, and those that
// lead to the daemon's own table.
var internalOptions = []*option{
	{
		spec: "--qsort", hidden: true,
		help: "sort the file list with another algorithm",
		flag: func(o *Options) *bool { return &o.Qsort },
	},
	{
		spec: "--server", hidden: true, exact: "server",
		help: "the side that a client started",
		on: func(p *parser, _ string, _ int) error {
			if !p.o.Server {
				return &request{restartServer}
			}
			p.o.Iconv = ""
			return nil
		},
	},
	{
		spec: "--sender", hidden: true, exact: "sender",
		help: "this server sends",
		on: func(p *parser, _ string, _ int) error {
			if !p.o.Server {
				return usageError(exitcode.AtSenderOption, "client")
			}
			p.o.Sender = true
			return nil
		},
	},
	{spec: "--config=FILE", hidden: true, help: "of the daemon", on: toDaemon},
	{spec: "--daemon", hidden: true, help: "run as a daemon; see --daemon --help", on: toDaemon},
	{spec: "--dparam=OVERRIDE", hidden: true, help: "of the daemon", on: toDaemon},
	{spec: "--detach", off: "no-detach", hidden: true, help: "of the daemon", on: toDaemon, undo: toDaemon},
}

// daemonOptions are the whole table behind --daemon.
var daemonOptions = []*option{
	{
		spec: "--daemon", help: "run as a daemon",
		on: to(func(p *parser) *bool { return &p.isDaemon }, true),
	},
	{
		spec: "--address=ADDRESS", help: "listen at this address only",
		on: daemonText(func(d *DaemonOptions) *string { return &d.Address }),
	},
	{
		spec: "--bwlimit=RATE", numeric: true, help: "limit the bandwidth (units of 1024 bytes per second)",
		on: func(p *parser, _ string, n int) error {
			p.o.Daemon.Bwlimit = int64(max(n, 0)) << 10
			return nil
		},
	},
	{
		spec: "--config=FILE", help: "read FILE instead of rsyncd.conf",
		on: daemonText(func(d *DaemonOptions) *string { return &d.Config }),
	},
	{
		spec: "--dparam=OVERRIDE, -M", help: "set a global parameter, as NAME=VALUE",
		on: (*parser).addDparam,
	},
	{
		spec: "--detach", off: "no-detach",
		lines: []line{{"--no-detach", "stay in the foreground"}},
		on:    to(func(p *parser) *bool { return &p.o.Daemon.Detach }, true),
		undo:  to(func(p *parser) *bool { return &p.o.Daemon.Detach }, false),
	},
	{
		spec: "--port=PORT", numeric: true, help: "listen on this port (default: 873)",
		on: func(p *parser, _ string, n int) error {
			p.o.Daemon.Port = n
			return nil
		},
	},
	{
		spec: "--log-file=FILE", help: "instead of the parameter \"log file\"",
		on: daemonText(func(d *DaemonOptions) *string { return &d.LogFile }),
	},
	{
		spec: "--log-file-format=FMT", help: "instead of the parameter \"log format\"",
		on: daemonText(func(d *DaemonOptions) *string { return &d.LogFileFormat }),
	},
	{
		spec: "--sockopts=OPTIONS", help: "socket options",
		on: daemonText(func(d *DaemonOptions) *string { return &d.Sockopts }),
	},
	{
		spec: "--verbose, -v", off: "no-verbose no-v", help: "say more",
		on: func(p *parser, _ string, _ int) error {
			p.o.Daemon.Verbose++
			return nil
		},
		undo: to(func(p *parser) *int { return &p.o.Daemon.Verbose }, 0),
	},
	{
		spec: "--ipv4, -4", help: "listen on IPv4 only",
		on: to(func(p *parser) *Family { return &p.o.Daemon.Family }, IPv4),
	},
	{
		spec: "--ipv6, -6", help: "listen on IPv6 only",
		on: to(func(p *parser) *Family { return &p.o.Daemon.Family }, IPv6),
	},
	{
		spec: "--help, -h", help: "print this text",
		on: func(*parser, string, int) error {
			return &request{ActionDaemonHelp}
		},
	},
	{
		spec: "--protocol=NUM", numeric: true, hidden: true, help: "speak an older protocol version",
		on: func(p *parser, _ string, n int) error {
			p.o.Daemon.Protocol = n
			return nil
		},
	},
	{
		spec: "--server", hidden: true, help: "serve standard input and output",
		on: to(func(p *parser) *bool { return &p.o.Daemon.Server }, true),
	},
	{
		spec: "--temp-dir=DIR, -T", hidden: true, help: "create temporary files in DIR",
		on: daemonText(func(d *DaemonOptions) *string { return &d.TempDir }),
	},
}
