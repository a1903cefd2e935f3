package options

// outputOptions are the first lines of --help: what is printed, and the options
// that nearly every command line has.
var outputOptions = []*option{
	{
		spec: "--verbose, -v", off: "no-verbose no-v",
		help:  "say more; repeat for still more",
		count: func(o *Options) *int { return &o.Verbose },
		man: "Once names the files as they are transferred and sums up at the end; " +
			"each repetition raises the levels of --info and --debug as --info=help and --debug=help list them.",
	},
	{
		spec:   "--info=FLAGS",
		values: flagNames(infoWords[:]),
		help:   "choose what to be told about, word by word",
		on: func(p *parser, arg string, _ int) error {
			return p.addFlags(p.info, arg, ActionInfoHelp)
		},
		man: "A comma-separated list of words, each with a level: progress2, name0. It overrides what --verbose " +
			"implies. --info=help prints the words.",
	},
	{
		spec:   "--debug=FLAGS",
		values: flagNames(debugWords[:]),
		help:   "choose what to debug, word by word",
		on: func(p *parser, arg string, _ int) error {
			return p.addFlags(p.debug, arg, ActionDebugHelp)
		},
		man: "Like --info, for messages that explain the inner workings. --debug=help prints the words. " +
			"To debug the remote side pass the option on: -M--debug=FLAGS.",
	},
	{
		spec:   "--stderr=e|a|c",
		values: []string{"errors", "all", "client"},
		help:   "where messages go: errors, all or client (default: errors)",
		on:     (*parser).setStderr,
		man: "errors (e): each side writes errors to its own standard error; " +
			"all (a): each side writes every message there; client (c): the other side sends all messages to the " +
			"client, which writes errors to standard error.",
	},
	{
		spec: "--msgs2stderr", off: "no-msgs2stderr", hidden: true,
		help: "older spelling of --stderr=all and --stderr=client",
		on:   to(func(p *parser) *StderrMode { return &p.o.Stderr }, StderrAll),
		undo: to(func(p *parser) *StderrMode { return &p.o.Stderr }, StderrClient),
	},
	{
		spec:  "--quiet, -q",
		help:  "leave out everything but errors",
		count: func(o *Options) *int { return &o.Quiet },
		man:   "Print no information, not even what the other side sends; errors remain. Meant for cron jobs.",
	},
	{
		spec: "--motd", off: "no-motd",
		lines: []line{{"--no-motd", "leave out a daemon's message of the day"}},
		flag:  func(o *Options) *bool { return &o.Motd },
		man: "A daemon's message of the day is printed before a transfer or a list of modules; --no-motd leaves it " +
			"out. A list of modules may come along with the message and go with it.",
	},
	{
		spec: "--checksum, -c", off: "no-checksum no-c",
		help: "compare files by checksum, not by time and size",
		flag: func(o *Options) *bool { return &o.Checksum },
		man: "A file of the same size is up to date when its checksum is the same, whatever its modification time. " +
			"Both sides read all files of equal size for it. Every transferred file is verified by a checksum in any case.",
	},
	{
		spec: "--archive, -a",
		help: "archive mode, the same as -rlptgoD (without -A, -X, -U, -N, -H)",
		on:   (*parser).setArchive,
		man: "ACLs (-A), extended attributes (-X), access " +
			"and create times (-U, -N) and hard links (-H) have to be asked for.",
	},
	{
		spec: "--no-OPTION", help: "turn an implied option off, as in --no-D",
		pseudo: true,
		man: "Undoes an option that another one implied or that stood earlier: -a --no-o. Order matters. Not every " +
			"option has a negation, and most letters have one too (--no-o is --no-owner).",
	},
	{
		spec: "--recursive, -r", off: "no-recursive no-r",
		help: "descend into directories",
		on:   to(func(p *parser) *int { return &p.recurse }, recurseAsked),
		undo: to(func(p *parser) *int { return &p.recurse }, recurseNo),
		man: "With protocol 30 and newer the file list is built piece by " +
			"piece while the transfer is running, unless an option needs all of it: --delete-before, --delete-after, " +
			"--prune-empty-dirs, --delay-updates.",
	},
	{
		spec: "--inc-recursive", also: "i-r", off: "no-inc-recursive no-i-r",
		lines: []line{
			{"--inc-recursive, --i-r", "build the file list piece by piece"},
			{"--no-inc-recursive", "build the whole file list first"},
			{"--no-i-r", "same as --no-inc-recursive"},
		},
		flag: func(o *Options) *bool { return &o.IncRecursive },
		man:  "Allows, which is the default, or forbids the building of the file list piece by piece while files move.",
	},
	{
		spec: "--relative, -R", off: "no-relative no-R",
		help: "keep the path as it was named",
		on:   to(func(p *parser) *int { return &p.relative }, 1),
		undo: to(func(p *parser) *int { return &p.relative }, 0),
		man: "The path named on the command line, not only its last part, is what the receiver creates: a/b/c becomes " +
			"DEST/a/b/c. A /./ in the path marks where the kept part begins.",
	},
	{
		spec: "--implied-dirs", also: "i-d", off: "no-implied-dirs no-i-d",
		lines: []line{{"--no-implied-dirs", "with --relative, leave the implied directories alone"}},
		flag:  func(o *Options) *bool { return &o.ImpliedDirs },
		man: "With --relative the attributes of the directories that lead to a named path are transferred too. " +
			"--no-implied-dirs leaves them out: missing ones are created with default attributes, existing ones stay.",
	},
	{
		spec: "--backup, -b", off: "no-backup",
		help: "keep old files as backups (see --suffix, --backup-dir)",
		flag: func(o *Options) *bool { return &o.Backup },
		man: "A file that would be replaced or deleted is renamed instead. Without --backup-dir, directory times are " +
			"not set, and --delete gets a rule that protects the backups.",
	},
	{
		spec: "--backup-dir=DIR",
		help: "put backups below DIR",
		text: func(o *Options) *string { return &o.BackupDir },
		man:  "Implies --backup; a relative DIR is below the destination.",
	},
	{
		spec: "--suffix=SUFFIX",
		help: "suffix of backups (~, or none with --backup-dir)",
		text: func(o *Options) *string { return &o.Suffix },
		man:  "It may not contain a slash, nor be empty without --backup-dir.",
	},
	{
		spec: "--update, -u",
		help: "leave files alone that are newer at the destination",
		flag: func(o *Options) *bool { return &o.Update },
		man: "Skips a file whose modification time at the destination is later than at the source. A difference in " +
			"kind, such as a directory in the place of a file, is updated whatever the times.",
	},
	{
		spec: "--inplace", off: "no-inplace",
		help: "write into destination files directly",
		flag: func(o *Options) *bool { return &o.Inplace },
		man: "There is no temporary file that is renamed. Saves space " +
			"and keeps hard links, but a reader sees a mixture while it lasts, and an interrupted transfer leaves it. " +
			"Conflicts with --partial-dir and --delay-updates.",
	},
	{
		spec: "--append",
		help: "append to files that are shorter",
		on:   (*parser).setAppend,
		man: "Transfers only what the source has beyond the length of the destination file, whose present content is " +
			"trusted. Files that are not shorter are skipped. Implies --inplace.",
	},
	{
		spec: "--append-verify", off: "no-append",
		help: "--append, with the old data in the file's checksum",
		on:   to(func(p *parser) *AppendMode { return &p.o.Append }, AppendVerify),
		undo: to(func(p *parser) *AppendMode { return &p.o.Append }, AppendNone),
		man:  "Like --append, but the checksum at the end covers the old data too; if it fails the file is sent again.",
	},
	{
		spec: "--dirs, -d", off: "no-dirs no-d",
		help: "transfer directories without descending",
		on:   to(func(p *parser) *int { return &p.dirs }, dirsAsked),
		undo: to(func(p *parser) *int { return &p.dirs }, 0),
		man: "Directories that are named are created; the content of one is listed only when its name ends in a slash " +
			"or a dot. Implied by --files-from and by --list-only without --recursive.",
	},
	{
		spec: "--old-dirs", also: "old-d",
		lines: []line{
			{"--old-dirs", "--dirs for peers that do not know it"},
			{"--old-d", "same as --old-dirs"},
		},
		on:  to(func(p *parser) *int { return &p.dirs }, dirsOld),
		man: "Recursion with a rule that keeps everything deeper out: what --dirs does, for very old peers.",
	},
	{
		spec: "--mkpath", off: "no-mkpath",
		help: "create missing directories on the way to the destination",
		flag: func(o *Options) *bool { return &o.Mkpath },
		man:  "Every one of the path, not only the last.",
	},
}

// fileOptions follow in --help: links, and what is kept of a file's attributes.
var fileOptions = []*option{
	{
		spec: "--links, -l", off: "no-links no-l",
		help: "copy symlinks as symlinks",
		flag: func(o *Options) *bool { return &o.Links },
		man:  "Recreates symlinks at the destination. Without this and the options below, symlinks are skipped with a message.",
	},
	{
		spec: "--copy-links, -L",
		help: "copy what symlinks point to",
		flag: func(o *Options) *bool { return &o.CopyLinks },
		man:  "The sender follows every symlink and transfers the file or directory at its end.",
	},
	{
		spec: "--copy-unsafe-links",
		help: "copy what symlinks point to, if outside the tree",
		flag: func(o *Options) *bool { return &o.CopyUnsafeLinks },
		man:  "Only symlinks that point out of the transferred tree, absolute ones included, are replaced by what they point to.",
	},
	{
		spec: "--safe-links",
		help: "leave out symlinks that point outside the tree",
		flag: func(o *Options) *bool { return &o.SafeLinks },
		man:  "The receiver ignores symlinks that point out of the tree. Absolute symlinks always do.",
	},
	{
		spec: "--insecure-links", off: "no-insecure-links",
		help: "follow other users' symlinks in operator paths",
		flag: func(o *Options) *bool { return &o.InsecureLinks },
		man: "In paths that the command line names (destination, backup, temporary and other directories, lists) a " +
			"symlink is followed only when root or the running user owns it. This turns the check off, on this side " +
			"only: a daemon refuses the option.",
	},
	{
		spec: "--confine-root=DIR",
		help: "refuse operator paths that lead out of DIR",
		text: func(o *Options) *string { return &o.ConfineRoot },
		man:  "Every path of the command line has to resolve to something below DIR, which must be absolute. Meant for restricted shells.",
	},
	{
		spec: "--munge-links", off: "no-munge-links",
		help: "make symlinks harmless, and unusable",
		flag: func(o *Options) *bool { return &o.MungeLinks },
		man:  "On the receiver symlinks get a prefix that makes them point nowhere; on the sender the prefix is taken off.",
	},
	{
		spec: "--copy-dirlinks, -k",
		help: "copy what symlinks to directories point to",
		flag: func(o *Options) *bool { return &o.CopyDirlinks },
		man:  "The sender treats a symlink to a directory as the directory.",
	},
	{
		spec: "--keep-dirlinks, -K",
		help: "take a symlink to a directory at the destination for one",
		flag: func(o *Options) *bool { return &o.KeepDirlinks },
		man:  "Where the sender has a directory and the receiver a symlink to one, the symlink stays and is followed.",
	},
	{
		spec: "--hard-links, -H", off: "no-hard-links no-H",
		help:  "keep hard links",
		count: func(o *Options) *int { return &o.HardLinks },
		man:   "Files that share an inode within the transfer share one at the destination.",
	},
	{
		spec: "--perms, -p", off: "no-perms no-p",
		help: "keep permissions",
		flag: func(o *Options) *bool { return &o.Perms },
		man: "Destination files get the permissions of the source. Without it, existing files keep theirs and new ones " +
			"get the source's permissions less the umask.",
	},
	{
		spec: "--executability, -E",
		help: "keep executability",
		flag: func(o *Options) *bool { return &o.Executability },
		man:  "Without --perms, makes a regular file executable or not as the source is.",
	},
	{
		spec: "--chmod=CHMOD",
		help: "change permissions on the way",
		on:   (*parser).addChmod,
		man: "Comma-separated changes as chmod(1) takes them, applied to the permissions that arrive; a leading D or F " +
			"limits one to directories or files. May be repeated; the changes add up.",
	},
	{
		spec: "--acls, -A", off: "no-acls no-A",
		help: "keep ACLs (implies --perms)",
		on: func(p *parser, _ string, _ int) error {
			p.o.ACLs, p.o.Perms = true, true
			return nil
		},
		undo: to(func(p *parser) *bool { return &p.o.ACLs }, false),
		man:  "Transfers access control lists. Both sides need file systems with compatible ones.",
	},
	{
		spec: "--xattrs, -X", off: "no-xattrs no-X",
		help:  "keep extended attributes",
		count: func(o *Options) *int { return &o.Xattrs },
		man:   "Transfers extended attributes: of the user namespace, and of all but system when run by root. Repeated, also those that --fake-super uses.",
	},
	{
		spec: "--owner, -o", off: "no-owner no-o",
		help: "keep the owner (root only)",
		flag: func(o *Options) *bool { return &o.Owner },
		man:  "Sets the owner when the receiver runs as root; matched by name unless --numeric-ids.",
	},
	{
		spec: "--group, -g", off: "no-group no-g",
		help: "keep the group",
		flag: func(o *Options) *bool { return &o.Group },
		man:  "Sets the group; without root, only groups that the receiver is a member of.",
	},
	{
		spec: "--devices", off: "no-devices",
		help: "keep device files (root only)",
		flag: func(o *Options) *bool { return &o.Devices },
		man:  "Recreates block and character devices.",
	},
	{
		spec: "--copy-devices", exact: "copy-devices",
		help: "copy the content of devices as files",
		flag: func(o *Options) *bool { return &o.CopyDevices },
		man:  "The sender reads a device as if it were a regular file. A daemon refuses it unless told otherwise.",
	},
	{
		spec: "--write-devices", off: "no-write-devices", exact: "write-devices",
		help: "write to devices as to files (implies --inplace)",
		flag: func(o *Options) *bool { return &o.WriteDevices },
		man:  "The receiver writes into an existing device as if it were a regular file. A daemon refuses it unless told otherwise.",
	},
	{
		spec: "--specials", off: "no-specials",
		help: "keep sockets and fifos",
		flag: func(o *Options) *bool { return &o.Specials },
		man:  "Recreates named sockets and fifos.",
	},
	{
		spec: "--drop-D", off: "no-drop-D",
		help: "never create devices and special files here",
		flag: func(o *Options) *bool { return &o.DropD },
		man:  "The receiver skips devices and special files, whatever the sender's options are.",
	},
	{
		spec: "-D", help: "same as --devices --specials",
		on: func(p *parser, _ string, _ int) error {
			p.o.Devices, p.o.Specials = true, true
			return nil
		},
		off: "no-D",
		undo: func(p *parser, _ string, _ int) error {
			p.o.Devices, p.o.Specials = false, false
			return nil
		},
	},
	{
		spec: "--times, -t", off: "no-times no-t",
		help: "keep modification times",
		flag: func(o *Options) *bool { return &o.Times },
		man:  "Without it the quick check by time and size fails at the next run, and every file is compared.",
	},
	{
		spec: "--atimes, -U", off: "no-atimes no-U",
		help: "keep access times",
		on: func(p *parser, _ string, _ int) error {
			if p.o.Atimes++; p.o.Atimes > 1 {
				p.o.OpenNoatime = true
			}
			return nil
		},
		undo: to(func(p *parser) *int { return &p.o.Atimes }, 0),
		man:  "Sets the access times of destination files. Repeated, it implies --open-noatime.",
	},
	{
		spec: "--open-noatime", off: "no-open-noatime",
		help: "leave access times alone when reading",
		flag: func(o *Options) *bool { return &o.OpenNoatime },
		man:  "Opens files so that reading does not change their access time, where the system can and the user may.",
	},
	{
		spec: "--crtimes, -N", off: "no-crtimes no-N",
		help: "keep create times (not on this platform)",
		flag: func(o *Options) *bool { return &o.Crtimes },
		man:  "Linux cannot set the time a file was created: refused.",
	},
	{
		spec: "--omit-dir-times, -O", off: "no-omit-dir-times no-O",
		help: "--times without directories",
		flag: func(o *Options) *bool { return &o.OmitDirTimes },
		man:  "Directories do not get the modification time of the source. Implied by --backup without --backup-dir.",
	},
	{
		spec: "--omit-link-times, -J", off: "no-omit-link-times no-J",
		help: "--times without symlinks",
		flag: func(o *Options) *bool { return &o.OmitLinkTimes },
	},
	{
		spec: "--super", off: "no-super",
		help: "try what only root may, as any user",
		on: func(p *parser, _ string, _ int) error {
			p.o.Super, p.o.NoSuper, p.o.FakeSuper = true, false, false
			return nil
		},
		undo: func(p *parser, _ string, _ int) error {
			p.o.Super, p.o.NoSuper, p.o.FakeSuper = false, true, false
			return nil
		},
		man: "The receiver tries to set owners, groups and devices even when it does not run as root. --no-super: not even as root.",
	},
	{
		spec: "--fake-super",
		help: "store what only root may set in extended attributes",
		on: func(p *parser, _ string, _ int) error {
			p.o.Super, p.o.NoSuper, p.o.FakeSuper = false, false, true
			return nil
		},
		man: "Owners, devices and special permissions are kept in an extended attribute beside the file, and read back " +
			"from there. For this side only; -M--fake-super is for the other.",
	},
	{
		spec: "--sparse, -S", off: "no-sparse no-S",
		help: "turn runs of zeros into holes",
		flag: func(o *Options) *bool { return &o.Sparse },
	},
	{
		spec: "--preallocate",
		help: "allocate files before writing them",
		flag: func(o *Options) *bool { return &o.Preallocate },
		man:  "Reserves the space of a file at once, which keeps it in one piece. With --sparse the holes are made afterwards.",
	},
}
