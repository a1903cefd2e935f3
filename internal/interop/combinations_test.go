package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// oldTree returns a preparation that puts the older destination into name too.
func oldTree(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) { older().build(t, filepath.Join(dir, name)) }
}

// butListSize leaves out how long the file list was: what is read ahead of it
// while the names are sent is chance.
func butListSize(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(l string) bool { return strings.HasPrefix(l, "File list size:") })
}

// butHeap leaves out what the processes tell of their memory, but for who does.
func butHeap(all []string) []string {
	var out []string
	for _, l := range all {
		if m := aboutHeap.FindStringSubmatch(l); m != nil {
			l = m[1]
		}
		out = append(out, l)
	}
	return out
}

// aboutHeap matches a line of the heap's statistics: whose they are, or what is
// counted.
var aboutHeap = regexp.MustCompile(`^(?:RSYNC\[\d+\]|rsync\[\d+\]|prsync\[\d+\])? ?(\((?:[a-z]+ ?)+\) heap statistics:|  \w+:) *\d*`)

// accents is a source with names that few character sets hold, also of
// directories.
func accents() tree {
	var t tree
	for _, d := range []string{"ba\xffd", "plain", "plain/utf-\u00e9", "q", "utf-\u00e9", "x\u4e16y", "z", "z/\u4e16"} {
		t.add(&node{path: d, kind: dir}, &node{path: d + "/f", kind: file, data: []byte(d)})
	}
	return t
}

// unsearchable is a source with directories that others may list and not search.
func unsearchable() tree {
	var t tree
	t.add(&node{path: "empty", kind: dir, mode: 0o744}, &node{path: "full", kind: dir, mode: 0o744},
		&node{path: "full/f", kind: file, data: []byte("f")}, &node{path: "g", kind: file, data: []byte("g")})
	return t
}

// secret are parameters of modules that the user of the tests may enter alone.
const secret = "secrets file = RUNDIR/secrets\nauth users = tester"

// secrets returns a preparation with the daemon's file of secrets and a file
// with the password that the client sends.
func secrets(password string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		check(t, os.WriteFile(filepath.Join(dir, "secrets"), []byte("tester:word\n"), 0o600))
		check(t, os.WriteFile(filepath.Join(dir, "word"), []byte(password+"\n"), 0o600))
	}
}

// combinations: options that change what others do.
var combinations = []scenario{
	// How files are written.
	{name: "inplace-sparse-delta", args: "-aSi --inplace --no-W --stats", dest: apart},
	{name: "inplace-backup-dir", args: "-abi --inplace --no-W --backup-dir=bak", dest: apart, since: 29}, // rsync 3.5.0 refuses ".." here
	{name: "inplace-backup-whole", args: "-abi --inplace -W", dest: apart, since: 29},
	{name: "inplace-delete", args: "-ai --inplace --no-W --delete-during", dest: apart},
	{name: "inplace-compressed", args: "-azi --inplace --no-W --stats", dest: apart},
	{name: "inplace-links", args: "-aHi --inplace --no-W", dest: apart},
	{name: "inplace-preallocated", args: "-ai --inplace --preallocate", dest: apart},
	{name: "inplace-fuzzy", args: "-ai --inplace -y --no-W", from: []string{"fuzzy/"}, to: "to/fuzzy/", since: 29},
	{name: "inplace-link-dest", args: "-ai --inplace --no-W --link-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29},
	{name: "inplace-attributes", args: "-aAXi --inplace --no-W", dest: apart, needs: needAttrs, since: 30},
	{name: "sparse-delta", args: "-aSi --no-W --stats"},
	{name: "sparse-compressed", args: "-aSzi --no-W"},
	{name: "sparse-links-deleted", args: "-aHSi --delete-after --no-W"},
	{name: "append-compressed", args: "-azi --append --stats", from: []string{"change/"}, to: "to/change/"},
	{name: "append-verify-compressed", args: "-azi --append-verify --stats", from: []string{"change/"}, to: "to/change/"},
	{name: "append-verify-all", args: "-ai --append-verify", dest: apart},
	{name: "append-verify-all-known", args: "-ai --append-verify --no-i-r", dest: apart},
	{name: "append-verify-backup", args: "-abi --append-verify", from: []string{"change/"}, to: "to/change/", since: 29},
	{name: "append-sparse", args: "-aSi --append", from: []string{"change/"}, to: "to/change/", only: []way{push, pull, daemonPush, daemonPull}}, // rsync 3.5.0 leaves zeros for what is there with whole files
	{name: "append-checksum", args: "-aci --append", from: []string{"change/"}, to: "to/change/"},
	{name: "append-dry", args: "-ani --append-verify --stats", from: []string{"change/"}, to: "to/change/"},
	{name: "append-inplace", args: "-ai --append --inplace", from: []string{"change/"}, to: "to/change/"},
	{name: "append-delete", args: "-ai --append --delete", dest: apart},
	{name: "delay-backup", args: "-abi --delay-updates --no-W"},
	{name: "delay-backup-dir", args: "-abi --delay-updates --backup-dir=../bak --delete-after"},
	{name: "delay-partial-dir", args: "-ai --delay-updates --partial-dir=.wait --delete-delay"},
	{name: "delay-verbose", args: "-av --delay-updates --delete-during --stats"},
	{name: "delay-remove-source", args: "-ai --delay-updates --remove-source-files", own: true},
	{name: "delay-new", args: "-ai --delay-updates", dest: nothing},
	{name: "partial-dir-delete-after", args: "-ai --partial-dir=.part --delete-after --no-W", prepare: dirs("to/change/.part", "to/extra/.part", "to/.part")},
	{name: "partial-dir-delete-before", args: "-ai --partial-dir=.part --delete-before", prepare: dirs("to/change/.part", "to/extra/.part")},
	{name: "partial-dir-delete-excluded", args: "-ai --partial-dir=.part --delete-excluded", prepare: dirs("to/change/.part", "to/extra/.part")},
	{name: "partial-dir-outside", args: "-ai --partial-dir=../part --no-W", prepare: func(t *testing.T, d string) {
		check(t, os.Mkdir(filepath.Join(d, "part"), 0o700))
		check(t, os.WriteFile(filepath.Join(d, "part/missing"), content(106, 9000), 0o600))
	}},
	{name: "partial-dir-backup", args: "-abi --partial-dir=.part --no-W --delete"},
	// rsync 3.5.0 refuses a relative --temp-dir with "..".
	{name: "temp-dir-outside", args: "-ai -TRUNDIR/tmp --no-W", prepare: dirs("tmp")},
	{name: "temp-dir-links", args: "-aHi -TRUNDIR/tmp --delete", prepare: dirs("tmp"), only: []way{local, push, pull, daemonPull}},
	{name: "temp-dir-backup", args: "-abi --temp-dir=RUNDIR/tmp --backup-dir=../bak", prepare: dirs("tmp"), only: []way{local, push, pull, daemonPull}},
	{name: "backup-links", args: "-abHi --delete --info=backup"},
	{name: "backup-dir-links", args: "-abHvi --backup-dir=../bak --delete-delay"},
	{name: "backup-dir-again", args: "-abi --backup-dir=../bak --delete", prepare: oldTree("bak")},
	{name: "backup-no-times", args: "-rlbi --no-t --delete"},
	{name: "backup-existing", args: "-abi --delete --suffix=.c"},
	{name: "backup-exclude", args: "-abi --delete --exclude=*~ --exclude=*.o"},
	{name: "backup-dry", args: "-abnvi --delete --backup-dir=../bak"},
	{name: "backup-safe-links", args: "-abi --safe-links --info=symsafe --delete"},
	{name: "backup-acls", args: "-abAi --delete --backup-dir=../bak", needs: needAttrs, since: 30},
	{name: "fsync-inplace", args: "-ai --fsync --inplace", from: []string{"size/", "change/"}, to: "to/change/", dest: apart},
	{name: "compressed-checksum", args: "-azci --no-W --stats"},
	{name: "compressed-fuzzy", args: "-azi -y --no-W --delete-after", since: 29},
	{name: "compress-threads", args: "-azi --zc=zstd --compress-threads=2 --no-W"},
	{name: "compress-level-0", args: "-azi --compress-level=0 --no-W"},
	{name: "delta-md5", args: "-ai --no-W --cc=md5 --stats"},
	{name: "whole-checksum", args: "-acWi --delete"},
	{name: "block-size-odd", args: "-ai --no-W -B701 --stats"},
	{name: "preallocate-delta", args: "-ai --preallocate --no-W"},

	// Alternate destinations.
	{name: "link-dest-three", args: "-ai --link-dest=../a --link-dest=../b --link-dest=../c", prepare: both(oldTree("a"), both(aged("b", "size", "change", "name"), aged("c", "mode", "link"))), dest: nothing, since: 29},
	{name: "link-dest-over", args: "-ai --link-dest=../ref --delete", prepare: aged("ref", "change")},
	{name: "link-dest-relative", args: "-aRi --link-dest=../ref", from: []string{"./size", "./hard/sub"}, prepare: aged("ref", "change"), dest: nothing},
	{name: "link-dest-links-three", args: "-aHi --link-dest=../a --link-dest=../b", prepare: both(oldTree("a"), aged("b", "hard", "size")), dest: nothing, since: 29},
	{name: "link-dest-links-over", args: "-aHi --link-dest=../ref --delete", prepare: aged("ref", "zhard")},
	{name: "link-dest-chmod", args: "-ai --link-dest=../ref --chmod=F600", prepare: aged("ref"), dest: nothing},
	{name: "link-dest-no-times", args: "-rlpgoDi --link-dest=../ref", prepare: aged("ref"), dest: nothing},
	{name: "link-dest-size-only", args: "-ai --size-only --link-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29}, // rsync itself hangs below
	{name: "link-dest-fuzzy", args: "-ai -y --no-W --link-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29},
	{name: "link-dest-delta", args: "-ai --no-W --stats --link-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29}, // rsync itself hangs below,
	{name: "link-dest-verbose", args: "-av --link-dest=../ref", prepare: aged("ref", "change"), dest: nothing},
	{name: "link-dest-backup", args: "-abi --link-dest=../ref --backup-dir=../bak", prepare: aged("ref")},
	{name: "link-dest-inside", args: "-ai --link-dest=ref --exclude=/ref --delete", prepare: aged("to/ref", "size")},
	{name: "copy-dest-links", args: "-aHi --copy-dest=../ref", prepare: aged("ref", "zhard"), dest: nothing},
	{name: "copy-dest-two", args: "-aHvi --copy-dest=../a --copy-dest=../b", prepare: both(oldTree("a"), aged("b", "size")), dest: nothing, since: 29},
	{name: "copy-dest-checksum", args: "-aci --copy-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29}, // rsync itself hangs below
	{name: "copy-dest-delta", args: "-ai --no-W --copy-dest=../ref --stats", prepare: oldTree("ref"), dest: nothing, since: 29},
	{name: "copy-dest-delay", args: "-ai --delay-updates --copy-dest=../ref", prepare: aged("ref", "change"), dest: nothing},
	{name: "copy-dest-dry", args: "-aHni --copy-dest=../ref", prepare: aged("ref", "change"), dest: nothing},
	{name: "compare-dest-links", args: "-aHi --compare-dest=../ref", prepare: aged("ref", "size"), dest: nothing},
	{name: "compare-dest-fuzzy", args: "-ai -y --no-W --compare-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29},
	{name: "compare-dest-fuzzy-twice", args: "-ai -yy --no-W --compare-dest=../../ref/fuzzy", from: []string{"fuzzy/"}, to: "to/fuzzy/", prepare: oldTree("ref"), since: 29, only: []way{local, push, pull, daemonPull}},
	{name: "compare-dest-two", args: "-aii --compare-dest=../a --compare-dest=../b", prepare: both(oldTree("a"), aged("b", "size")), dest: nothing, since: 29},
	{name: "compare-dest-checksum", args: "-aci --compare-dest=../ref", prepare: oldTree("ref"), dest: nothing, since: 29}, // rsync itself hangs below
	{name: "compare-dest-attributes", args: "-aAXi --compare-dest=../ref", prepare: oldTree("ref"), dest: nothing, needs: needAttrs, since: 30},
	{name: "compare-dest-dry", args: "-ani --compare-dest=../ref --stats", prepare: aged("ref", "change"), dest: nothing},
	{name: "compare-and-link", args: "-ai --compare-dest=../ref --link-dest=../ref", from: []string{"size/"}, dest: nothing},

	// Which entries.
	{name: "files-from-nul-relative", args: "-ai -0 --files-from=list", files: map[string]string{"list": "name/new\nline\x00./hard/./sub/c\x00"}},
	{name: "files-from-no-implied", args: "-ai --no-implied-dirs --files-from=list", files: map[string]string{"list": "hard/sub/c\ndeep/d00/d01\nsize/000700\n"}, dest: nothing},
	{name: "files-from-remote-nul", args: "-ai -0 --files-from=:list", files: map[string]string{"list": "name/new\nline\x00size/000700\x00"}, only: []way{pull}},
	{name: "files-from-remote-absent", args: "-ai --files-from=:absent", only: []way{pull}},
	{name: "files-from-absent", args: "-ai --files-from=absent"},
	{name: "files-from-exclude", args: "-ai -r --files-from=list --exclude=*.o", files: map[string]string{"list": "filter\nsize/\n"}},
	{name: "files-from-dirs", args: "-dti --files-from=list", files: map[string]string{"list": "filter\nsize/\n"}, dest: nothing},
	{name: "files-from-links", args: "-aHi --files-from=list --no-R", files: map[string]string{"list": "hard/a\nzhard/d\nhard/sub/c\n"}, dest: nothing},
	{name: "files-from-delete-args", args: "-ai --files-from=list --delete-missing-args", files: map[string]string{"list": "zz-extra\nsize/000700\nextra/f\n"}},
	{name: "files-from-ignore-args", args: "-ai --files-from=list --ignore-missing-args", files: map[string]string{"list": "nowhere\nsize/000700\nno/where\n"}},
	{name: "files-from-stats", args: "-av --files-from=list --stats", told: butListSize, files: map[string]string{"list": "name/sp ace\nsize/000700\n"}},
	{name: "relative-links", args: "-aRi", from: []string{"./link/directory", "./link/relative"}},
	{name: "relative-through-link", args: "-aRi", from: []string{"./link/directory/d01"}, dest: nothing},
	{name: "relative-copy-links", args: "-aRLi", from: []string{"./link/directory/d01", "./size/000700"}, dest: nothing},
	{name: "relative-keep-dirlinks", args: "-aRKi", from: []string{"./type/dl"}},
	{name: "relative-no-recursion", args: "-lptRi", from: []string{"./hard/sub/c", "./deep/d00"}, dest: nothing},
	{name: "relative-verbose", args: "-avR --delete", from: []string{"./change", "./filter/sub"}},
	{name: "existing-ignore-existing", args: "-ai --existing --ignore-existing --delete"},
	{name: "existing-links", args: "-aHi --existing"},
	{name: "existing-update-delete", args: "-aui --existing --delete-after"},
	{name: "ignore-existing-links", args: "-aHi --ignore-existing"},
	{name: "ignore-existing-backup", args: "-abi --ignore-existing --delete"},
	{name: "update-links", args: "-aHui"},
	{name: "update-inplace", args: "-aui --inplace", dest: apart},
	{name: "update-checksum", args: "-auci"},
	{name: "size-limits-delete", args: "-ai --max-size=65536 --min-size=1 --delete"},
	{name: "size-limits-links", args: "-aHi --max-size=1000 --min-size=100"},
	{name: "size-limits-suffix", args: "-ai --max-size=64KiB+1 --min-size=700b-1"},
	{name: "size-only-checksum", args: "-aci --size-only"},
	{name: "ignore-times-checksum", args: "-aIci"},
	{name: "ignore-times-links", args: "-aHIi --link-dest=../ref", prepare: aged("ref"), dest: nothing},
	{name: "remove-source-existing", args: "-ai --remove-source-files --existing", own: true},
	{name: "remove-source-dry", args: "-ani --remove-source-files", own: true},
	{name: "remove-source-update", args: "-aui --remove-source-files --ignore-existing", own: true},
	{name: "remove-source-dest", args: "-ai --remove-source-files --link-dest=../ref", own: true, prepare: aged("ref", "size"), dest: nothing},
	{name: "remove-source-links", args: "-aLi --remove-source-files", own: true, from: []string{"link/relative", "hard/a"}},
	// Where nothing is there yet: of what is, rsync says at once that it may go, ahead of the requests for links to it that it still holds back.
	{name: "remove-source-links-new", args: "-aLi --remove-source-files --exclude=/link/directory", own: true, dest: nothing, since: 30},
	{name: "remove-source-some", args: "-avi --remove-source-files", own: true, from: []string{"size/000700", "nowhere", "hard"}},
	{name: "delete-dry", args: "-ani --delete-delay --stats"},
	{name: "delete-one-file-system", args: "-axi --delete"},
	{name: "delete-keep-dirlinks-after", args: "-aKi --delete-after"},
	{name: "delete-dirs-excluded", args: "-dlti --delete-excluded --exclude=size"},
	{name: "delete-filter-merge", args: "-ai --delete-before", more: []string{"--filter=. rules", "--filter=: .rsync-filter"}, files: map[string]string{"rules": "P zz*\n- *.tmp\n"}},
	{name: "delete-filter-during", args: "-aFFi --delete-during"},
	{name: "delete-cvs-after", args: "-aCFi --delete-after --delete-excluded"},
	{name: "delete-max-verbose", args: "-av --delete-delay --max-delete=4"},
	{name: "delete-two-sources", args: "-ai --delete-after", from: []string{"change", "size"}},
	{name: "copy-dirlinks-delete", args: "-aki --delete", only: []way{local, push, pull}},
	// Directories before the one that cannot be read whole lose what is too much.
	{name: "copy-links-delete", args: "-aLi --delete"},
	{name: "copy-links-links", args: "-aLHi", from: []string{"hard/", "size/"}},
	{name: "copy-unsafe-safe", args: "-ai --copy-unsafe-links --safe-links -v", only: []way{local, push, pull}},
	{name: "munge-safe", args: "-ai --munge-links --safe-links"},
	{name: "insecure-links", args: "-ai --insecure-links", only: []way{local, push, pull}},
	{name: "confine-root", args: "-abi --backup-dir=RUNDIR/bak --confine-root=RUNDIR", from: []string{"change/"}, to: "to/change/", only: []way{local, push, pull, daemonPull}},
	{name: "confine-root-refused", args: "-abi --backup-dir=RUNDIR/bak --confine-root=RUNDIR/to", from: []string{"change/delta"}, to: "to/change/", loose: []string{"stderr"}, only: []way{local, push, pull, daemonPull}},
	{name: "no-implied-dirs-in-the-way", args: "-rtRi --no-implied-dirs", from: []string{"./hard/nil2", "./size/000700", "./link/relative"}, prepare: func(t *testing.T, d string) {
		for _, n := range []string{"hard", "size", "link"} {
			check(t, os.RemoveAll(filepath.Join(d, "to", n)))
		}
		check(t, os.WriteFile(filepath.Join(d, "to/hard"), []byte("in the way\n"), 0o644))
		check(t, os.Symlink("nowhere", filepath.Join(d, "to/size")))
		check(t, os.Symlink("link", filepath.Join(d, "to/link")))
	}},
	{name: "implied-twice", own: true, args: "-tRi --no-i-r --stats", from: []string{"./hard/nil2", "./hard/sub/c", "other/./hard/sub/f", "other/./hard/g", "./time/epoch"}, dest: nothing, prepare: func(t *testing.T, d string) {
		check(t, os.MkdirAll(filepath.Join(d, "src/other/hard/sub"), 0o755))
		for _, n := range []string{"sub/f", "g"} {
			check(t, os.WriteFile(filepath.Join(d, "src/other/hard", n), []byte("new\n"), 0o644))
		}
	}},
	{name: "fuzzy-dry-run", args: "-any --debug=fuzzy", told: func(all []string) []string { return pick(regexp.MustCompile("^fuzzy basis"), all) }},
	{name: "alternate-missing-dry-run", args: "-ain --copy-dest=../nowhere --copy-dest=../../nowhere --copy-dest=here --copy-dest=/nowhere", from: []string{"change/"}, to: "to/new/deep/"},
	{name: "alternate-missing", args: "-ai --link-dest=../nowhere --link-dest=here --link-dest=/nowhere --link-dest=size/large", from: []string{"change/"}},
	{name: "temp-dir-missing-above", args: "-ai --temp-dir=../nowhere", from: []string{"change/"}},
	{name: "temp-dir-missing-absolute", args: "-ai --temp-dir=/nowhere/", from: []string{"change/"}},
	{name: "temp-dir-no-directory", args: "-ai --temp-dir=/to/size/large", from: []string{"change/"}, only: []way{daemonPush}},
	{name: "temp-dir-missing-dry-run", args: "-ain --temp-dir=nowhere", from: []string{"change/"}, to: "fresh/", dest: nothing},
	{name: "backup-dir-dry-run", args: "-abin --backup-dir=list --info=backup2", files: map[string]string{"list": "no directory\n"}, from: []string{"change/"}, to: "fresh/", dest: nothing, only: []way{local}},
	{name: "drop-devices", args: "-ai --drop-D", needs: needRoot},
	{name: "copy-as", args: "-ai --copy-as=daemon:daemon", from: []string{"size/"}, to: "own/", needs: needRoot, only: []way{local, push, pull}, prepare: func(t *testing.T, d string) {
		check(t, os.Mkdir(filepath.Join(d, "own"), 0o755))
		check(t, os.Chown(filepath.Join(d, "own"), 1, 1))
	}},
	{name: "copy-as-unsearchable", args: "-ai --copy-as=daemon:daemon", own: true, src: unsearchable, dest: nothing, to: "own/", needs: needRoot, only: []way{local, push, pull}, prepare: func(t *testing.T, d string) {
		check(t, os.Mkdir(filepath.Join(d, "own"), 0o777))
		check(t, os.Chmod(filepath.Join(d, "own"), 0o777))
	}},
	{name: "copy-as-refused", args: "-ai --copy-as=daemon:daemon", from: []string{"size/"}, needs: needRoot, only: []way{local, push, pull}},
	{name: "copy-as-nobody", args: "-ai --copy-as=no-such-user", from: []string{"size/"}, needs: needRoot, only: []way{push, pull}},
	// Below protocol 30 the options are refused before anybody asks for the user.
	{name: "copy-as-acls-nobody", args: "-aAi --copy-as=no-such-user", from: []string{"size/"}, needs: needRoot, only: []way{push, pull}, loose: []string{"stderr"}},
	{name: "no-super", args: "-ai --no-super", from: []string{"mode", "special"}, needs: needRoot},
	{name: "access-times-devices", args: "-ai --write-devices --open-noatime --no-W", own: true, from: []string{"change/"}, to: "to/change/"},
	{name: "access-times-twice", args: "-aUUi", own: true, since: 28},
	{name: "chmod-links", args: "-aHi --chmod=D755,F644"},
	{name: "chmod-executability", args: "-rtEi --chmod=F+x"},
	{name: "chmod-bad", args: "-ai --chmod=z", from: []string{"size/"}},
	{name: "usermap-numeric", args: "-ai --numeric-ids --usermap=0:7 --groupmap=0-9:8", needs: needRoot},
	{name: "usermap-bad", args: "-ai --usermap=0:no-such-user", from: []string{"size/"}, needs: needRoot},
	{name: "omit-times-delete", args: "-aOJi --delete"},
	{name: "mkpath-one", args: "-ai --mkpath", to: "to/a/b/file", from: []string{"size/000700"}},
	{name: "mkpath-dry", args: "-ani --mkpath", to: "to/a/b/", from: []string{"size"}},
	{name: "xattrs-links", args: "-aXHi --delete", needs: needAttrs, since: 30},
	{name: "xattrs-twice", args: "-aXXi", needs: needAttrs | needRoot, since: 30},
	{name: "xattrs-filter", args: "-aXi", more: []string{"--filter=-x user.s*", "--filter=-xr user.e*"}, needs: needAttrs, since: 30},
	{name: "acls-no-perms", args: "-rltAi --no-p", needs: needAttrs, since: 30},
	{name: "acls-xattrs-inplace-backup", args: "-abAXi --inplace --no-W", dest: apart, needs: needAttrs, since: 30},
	{name: "fake-super-backup", args: "-abi --fake-super --delete", needs: needAttrs},
	{name: "fake-super-links", args: "-aHi --fake-super --link-dest=../ref", prepare: aged("ref"), dest: nothing, needs: needAttrs},
	// With recursion as it goes, rsync gives up over a name that the receiving side cannot convert.
	{name: "iconv-recursive", args: "-aHi --iconv=utf8,latin1 --delete", env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-recursive-known", args: "-aHi --iconv=utf8,latin1 --delete --no-i-r", env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-directories", args: "-aHi --iconv=utf8,latin1", own: true, src: accents, dest: nothing, env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-directories-known", args: "-avi --iconv=utf8,latin1 --no-i-r", own: true, src: accents, dest: nothing, env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-directories-from", args: "-aHi --iconv=latin1,utf8", own: true, src: accents, dest: nothing, env: []string{"LC_ALL=C.UTF-8"}},
	// The run ends over a list that is sent ahead: how many lines the files before it get is chance.
	{name: "iconv-directories-named", args: "-a --iconv=utf8,ascii --delete", from: []string{"z/"}, own: true, src: accents, env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-files-from", args: "-ai --iconv=utf8,latin1 --files-from=list", files: map[string]string{"list": "name/utf-\u00e9\u4e16\nname/" + "\u00e9" + "\nsize/000700\n"}, env: []string{"LC_ALL=C.UTF-8"}, dest: nothing, only: []way{local, push, pull}},
	{name: "old-args-relative", args: "-aRi --old-args", from: []string{"./size/0007*", "./hard/sub"}, only: []way{push, pull, daemonPull}},
	{name: "secluded-relative", args: "-aRsi", from: []string{"./name/sp ace", "./hard/sub"}},
	{name: "stop-at", args: "-ai --stop-at=2099-12-31T00:00", from: []string{"size/"}},

	// What is printed.
	{name: "out-format-all", args: "-a --no-W", more: []string{"--out-format=%a|%B|%f|%G|%h|%i|%l|%L|%M|%m|%n|%o|%P|%U|%u|%%|%z"}},
	{name: "out-format-mode", args: "-rtE --no-W", more: []string{"--out-format=%B %n"}},
	{name: "out-format-mode-new", args: "-r --log-file=run.log", more: []string{"--out-format=%B %n", "--log-file-format=%B %n"}, dest: nothing},
	{name: "out-format-sum", args: "-a --no-W", more: []string{"--out-format=%C %n"}},
	{name: "out-format-sum-md5", args: "-a --cc=md5", more: []string{"--out-format=%C %n"}, dest: nothing},
	{name: "out-format-operations", args: "-aH --delete --backup", more: []string{"--out-format=%o %i %n%L"}},
	{name: "out-format-dry", args: "-anH --delete", more: []string{"--out-format=%o %i %n%L %l %M"}},
	{name: "out-format-relative", args: "-aR", more: []string{"--out-format=%f %n"}, from: []string{"./hard/sub", "./size/000700"}},
	{name: "out-format-verbose", args: "-av --delete", more: []string{"--out-format=%n"}},
	{name: "log-file-remote", args: "-a --delete -M--log-file=run.log", only: []way{push, pull}},
	{name: "log-file-remote-format", args: "-a --delete -M--log-file=run.log", more: []string{"-M--log-file-format=%o %h [%a] %m (%u) %f %l %i"}, only: []way{push, pull}},
	{name: "log-file-formats", args: "-aH --delete --log-file=run.log", more: []string{"--log-file-format=%o %f %l %L %U %G %M"}},
	{name: "log-file-errors", args: "-a --log-file=run.log", from: []string{"size/000700", "nowhere", "mode/"}},
	{name: "log-file-stats", args: "-a --stats --log-file=run.log"},
	{name: "log-file-quiet", args: "-aq --log-file=run.log --delete"},
	{name: "log-file-quiet-list", args: "-avq --no-inc-recursive --log-file=run.log", from: []string{"size/"}},
	{name: "log-file-quiet-count", args: "-aq --no-inc-recursive --info=flist2 --log-file=run.log", from: []string{"size/"}},
	{name: "log-file-empty-format", args: "-a --log-file=run.log --log-file-format=", from: []string{"size/"}},
	{name: "daemon-log", args: "-a --delete", conf: "transfer logging = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-log-format", args: "-aH --delete", conf: "transfer logging = yes\nlog format = %h [%a] %m (%u) %P %o %i %f %n %l%L", only: []way{daemonPush, daemonPull}},
	{name: "daemon-log-dry", args: "-an --delete", conf: "transfer logging = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-chmod", args: "-ai", conf: "incoming chmod = Dug=rwx,F640\noutgoing chmod = D700,F600", only: []way{daemonPush, daemonPull}},
	{name: "daemon-exclude", args: "-ai --delete", conf: "exclude = *.o /to/size /size /to/zz* name/\ninclude = keep.o", only: []way{daemonPush, daemonPull}},
	{name: "daemon-filter", args: "-ai --delete-after", conf: "filter = - *.o P zz*", only: []way{daemonPush, daemonPull}},
	{name: "daemon-munge", args: "-ai --delete", conf: "munge symlinks = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-fake-super", args: "-ai", conf: "fake super = yes", dest: nothing, needs: needAttrs, only: []way{daemonPush, daemonPull}},
	{name: "daemon-auth", args: "-ai --password-file=RUNDIR/word", conf: secret, prepare: secrets("word"), only: []way{daemonPush, daemonPull}},
	{name: "daemon-auth-wrong", args: "-ai --password-file=RUNDIR/word", conf: secret, prepare: secrets("another"), only: []way{daemonPush, daemonPull}},
	{name: "daemon-auth-environment", args: "-ai", conf: secret, env: []string{"RSYNC_PASSWORD=word"}, prepare: secrets("word"), only: []way{daemonPush, daemonPull}},
	{name: "daemon-auth-read-only", args: "-ai --password-file=RUNDIR/word", conf: secret + ":ro", prepare: secrets("word"), only: []way{daemonPush, daemonPull}},
	{name: "daemon-read-only", args: "-ai", conf: "read only = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-write-only", args: "-ai", conf: "write only = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-numeric-ids", args: "-ai", conf: "numeric ids = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-no-compress", args: "-azi --no-W", conf: "dont compress = *.txt *", only: []way{daemonPush, daemonPull}},
	{name: "daemon-nonreadable", args: "-ai", conf: "ignore nonreadable = yes\nignore errors = yes", only: []way{daemonPush, daemonPull}},
	{name: "daemon-refuse", args: "-aci --delete", conf: "refuse options = delete checksum", only: []way{daemonPush, daemonPull}},
	{name: "daemon-unknown-option", args: "-avi -M--no-such", loose: []string{"stderr"}, only: []way{daemonPush, daemonPull}},
	{name: "daemon-unknown-option-known", args: "-avi --delete-before -M--no-such", loose: []string{"stderr"}, only: []way{daemonPush, daemonPull}},
	{name: "daemon-refuse-all", args: "-ai", conf: "refuse options = * !a !v !i", only: []way{daemonPush, daemonPull}},
	{name: "daemon-max-verbosity", args: "-avvv", conf: "max verbosity = 1", from: []string{"size/"}, loose: []string{"stdout"}, only: []way{daemonPush, daemonPull}},
	{name: "daemon-temp-dir", args: "-ai", conf: "temp dir = /tmp", only: []way{daemonPush}, prepare: dirs("tmp")},
	{name: "itemized-dry", args: "-anii --delete"},
	{name: "itemized-dry-links", args: "-aHAXnii --delete", needs: needAttrs, since: 30},
	{name: "itemized-checksum", args: "-acii"},
	{name: "itemized-no-times", args: "-rlpi"},
	{name: "itemized-omit-times", args: "-aOJii"},
	{name: "list-only-dirs", args: "-d --list-only", to: noDest},
	{name: "list-only-relative", args: "-rR --list-only", from: []string{"./hard/sub", "./size"}, to: noDest},
	{name: "list-only-exclude", args: "-a --list-only --exclude=name --exclude=*.o", to: noDest},
	{name: "list-only-times", args: "-rptU --list-only", from: []string{"size/", "mode/"}, to: noDest, own: true, since: 30},
	{name: "list-only-human-twice", args: "-ahh --list-only -8", to: noDest},
	{name: "list-only-checksum", args: "-ac --list-only", from: []string{"size/"}, to: noDest},
	{name: "list-only-missing", args: "-a --list-only", from: []string{"size/000700", "nowhere"}, to: noDest},
	{name: "list-only-stats", args: "-a --list-only --stats", from: []string{"size/"}, to: noDest},
	{name: "list-only-links-followed", args: "-aL --list-only", from: []string{"link/"}, to: noDest, only: []way{local, push, pull}},
	{name: "progress-delta", args: "-a --progress --no-W --delete"},
	{name: "progress-itemized", args: "-ai --progress"},
	{name: "progress-human", args: "-ahh --progress", dest: nothing},
	{name: "progress-quiet", args: "-aq --progress", from: []string{"size/"}},
	{name: "progress-dry", args: "-an --progress"},
	{name: "progress-links", args: "-aHv --progress", dest: nothing},
	{name: "progress-overall-stats", args: "-a --info=progress2,stats2", told: lastProgress, dest: nothing},
	{name: "progress-partial", args: "-aPv --delete"},
	{name: "verbose-links", args: "-aHv --delete"},
	{name: "verbose-dry-stats", args: "-anv --delete --stats"},
	{name: "verbose-dest", args: "-avv --compare-dest=../ref", prepare: aged("ref", "change"), dest: nothing},
	{name: "verbose-backup", args: "-avvb --delete"},
	{name: "verbose-size-limits", args: "-avv --max-size=700 --min-size=1"},
	{name: "verbose-nonregular", args: "-rvv"},
	{name: "verbose-missing", args: "-av", from: []string{"size/000700", "nowhere", "mode/"}},
	{name: "verbose-one", args: "-av", from: []string{"size/000700"}, to: "to/renamed"},
	{name: "quiet-errors", args: "-aq", from: []string{"size/000700", "nowhere", "mode/"}},
	{name: "stats-delta", args: "-a --no-W --stats"},
	{name: "stats-links", args: "-aH --stats --delete"},
	{name: "stats-attributes", args: "-aHAX --stats", dest: nothing, needs: needAttrs, since: 30},
	{name: "stats-human-twice", args: "-ahh --stats", dest: nothing},
	{name: "stats-dest", args: "-a --stats --link-dest=../ref", prepare: aged("ref", "size"), dest: nothing},
	{name: "info-all", args: "-a --info=all2,progress0,flist1 --delete"},
	{name: "info-stats3", args: "-a --info=stats3 --delete", told: butHeap},
	{name: "info-bad", args: "-a --info=nonsense", from: []string{"size/"}},
	{name: "info-backup-symsafe", args: "-ab --safe-links --info=backup,symsafe,nonreg,skip,remove --delete"},
	{name: "info-mount", args: "-axx --info=mount,name2", from: []string{"size/", "change/"}},
	{name: "stderr-all", args: "-av --stderr=all", from: []string{"size/", "nowhere"}},
	{name: "stderr-errors", args: "-av --stderr=errors", from: []string{"size/", "nowhere"}},
	{name: "eight-bit-itemized", args: "-ai8 --delete", from: []string{"name/"}, to: "to/name/"},
	{name: "utf8-itemized", args: "-ai --delete --stats", from: []string{"name/"}, to: "to/name/", env: []string{"LC_ALL=C.UTF-8"}},
	{name: "utf8-list", args: "-a --list-only", from: []string{"name/"}, to: noDest, env: []string{"LC_ALL=C.UTF-8"}},
	{name: "bad-partial", args: "-ai --partial-dir=.p --inplace", from: []string{"size/"}},
	{name: "bad-delay", args: "-ai --delay-updates --inplace", from: []string{"size/"}},
	{name: "bad-append", args: "-ai --append --partial-dir=.p", from: []string{"size/"}},
	{name: "bad-delete", args: "-pti --delete", from: []string{"size/"}},
	{name: "bad-delete-two", args: "-ai --delete-after --delete-before", from: []string{"size/"}},
	{name: "bad-dest", args: "-ai --compare-dest=../a --copy-dest=../b", from: []string{"size/"}},
	{name: "bad-suffix", args: "-abi --suffix=/x", from: []string{"size/"}},
	{name: "bad-temp-dir", args: "-ai -T/nonexistent/tmp", from: []string{"size/"}},
	{name: "remote-option-limit", args: "-ai -M--bwlimit=90000", dest: nothing, only: []way{local}},
	{name: "remote-option-sparse", args: "-ai -M--sparse", dest: nothing, only: []way{local}},
	{name: "remote-option-known", args: "-ai --no-i-r -M--bwlimit=90000", only: []way{local}},
	{name: "remote-option-append", args: "-ai --append -M--numeric-ids", only: []way{local}, loose: []string{"stderr"}},
	{name: "bad-temp-dir-beside", args: "-ai -T/nonexistent/tmp --copy-dest=../nowhere", from: []string{"size/"}},
	{name: "bad-remote", args: "-ai -M-x --no-such", from: []string{"size/"}, only: []way{push, pull}},
}
