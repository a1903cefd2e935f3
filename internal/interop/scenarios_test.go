package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nothing is the destination that does not exist yet.
func nothing() tree { return nil }

// apart is the older destination without files that share an inode: what an
// update in place does to the other name depends on who comes first.
func apart() tree {
	t := older().clone()
	n := t.find("hard/nil2")
	n.kind, n.target, n.data, n.mode = file, "", []byte("apart\n"), 0o644
	return t
}

// aged returns a preparation that puts another old copy of the source into
// name, with its own changes: a directory for --link-dest and the like.
func aged(name string, drop ...string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		c := source().clone()
		c.drop(drop...)
		c.build(t, filepath.Join(dir, name))
	}
}

// newerByOne makes files of the destination a second newer than their sources,
// and other ones.
func newerByOne(names ...string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		for _, name := range names {
			at := source().find(name).sec + 1
			check(t, os.WriteFile(filepath.Join(dir, "to", name), []byte("newer\n"), 0o644))
			check(t, os.Chtimes(filepath.Join(dir, "to", name), time.Unix(at, 0), time.Unix(at, 0)))
		}
	}
}

// leadOut makes a directory of the destination a link that leads out of it.
func leadOut(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		at := filepath.Join(dir, "to", name)
		check(t, os.RemoveAll(at))
		check(t, os.Mkdir(filepath.Join(dir, "outside"), 0o755))
		check(t, os.Symlink(strings.Repeat("../", strings.Count(name, "/")+1)+"outside", at))
	}
}

func both(steps ...func(t *testing.T, dir string)) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		for _, s := range steps {
			s(t, dir)
		}
	}
}

func dirs(names ...string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		for _, n := range names {
			check(t, os.MkdirAll(filepath.Join(dir, n), 0o755))
		}
	}
}

// basics: what is transferred of an entry, and how deep.
var basics = []scenario{
	{name: "archive", args: "-a", core: true},
	{name: "archive-new", args: "-ai", dest: nothing, core: true},
	{name: "archive-delete", args: "-ai --delete", core: true},
	{name: "hard-links", args: "-aHi --delete", core: true},
	{name: "hard-links-new", args: "-aHv", dest: nothing},
	{name: "acls", args: "-aAi --delete", needs: needAttrs, since: 30, core: true},
	{name: "acls-new", args: "-aAi", dest: nothing, needs: needAttrs, since: 30},
	{name: "xattrs", args: "-aXi --delete", needs: needAttrs, since: 30, core: true},
	{name: "xattrs-new", args: "-aXHi", dest: nothing, needs: needAttrs, since: 30},
	{name: "xattrs-no-perms", args: "-rlXi", needs: needAttrs, since: 30},
	{name: "xattrs-times-no-perms", args: "-rltXi", needs: needAttrs, since: 30},
	{name: "xattrs-inplace", args: "-aXi --inplace --no-W", dest: apart, needs: needAttrs, since: 30},
	{name: "xattrs-backup", args: "-aXbi --suffix=.old --delete", needs: needAttrs, since: 30},
	{name: "everything", args: "-aHAXii --delete --numeric-ids", needs: needAttrs, since: 30},
	{name: "everything-whole", args: "-aHAXSiv --delete -W", needs: needAttrs, since: 30},
	{name: "recursive-only", args: "-ri"},
	{name: "recursive-links", args: "-rlv"},
	{name: "times-only", args: "-rti"},
	{name: "perms", args: "-rpi"},
	{name: "perms-no-recursion", args: "-pi", from: []string{"size/", "mode/"}},
	{name: "owner", args: "-rogi", needs: needRoot},
	{name: "group", args: "-rlgi"},
	{name: "devices", args: "-rDi"},
	{name: "devices-only", args: "-ri --devices"},
	{name: "specials-only", args: "-rti --specials"},
	{name: "no-devices", args: "-ai --no-D"},
	{name: "copy-devices", args: "-ai --copy-devices", from: []string{"special/null"}, needs: needRoot},
	{name: "copy-devices-stats", args: "-a --copy-devices --stats", from: []string{"special/"}, needs: needRoot},
	{name: "executability", args: "-rEi"},
	{name: "executability-over", args: "-rtEi --no-p"},
	{name: "chmod-symbolic", args: "-ai --chmod=Du=rwx,go=rx,Fu=rw,go-w,+X"},
	{name: "chmod-octal", args: "-rti --chmod=D2750,F640 -p"},
	{name: "chmod-copied", args: "-ai --chmod=g=o,o=,u-g"},
	{name: "chmod-no-perms", args: "-rti --chmod=ug=rwX,o="},
	{name: "omit-dir-times", args: "-aOi"},
	{name: "omit-link-times", args: "-aJi"},
	{name: "access-times", args: "-aUi", own: true, since: 28}, // rsync itself loses the stream below
	{name: "access-times-open", args: "-ai --open-noatime", own: true},
	{name: "numeric-ids", args: "-ai --numeric-ids"},
	{name: "usermap", args: "-ai --usermap=0:1,1-5:54000,*:65534 --groupmap=daemon:bin,54322:4", needs: needRoot},
	{name: "chown", args: "-ai --chown=daemon:54000", needs: needRoot},
	{name: "chown-group", args: "-rgi --chown=:bin", needs: needRoot},
	{name: "fake-super", args: "-ai --fake-super", needs: needAttrs},
	{name: "fake-super-xattrs", args: "-aAXHi --fake-super", dest: nothing, needs: needAttrs | needRoot, since: 30},
	{name: "fake-super-remote", args: "-ai -M--fake-super", needs: needAttrs, only: []way{push, pull}},
	{name: "super", args: "-ai --super", from: []string{"mode", "special"}},
	{name: "copy-links", args: "-rLti"},
	{name: "copy-links-archive", args: "-aLi --delete", from: []string{"link/", "size/"}},
	{name: "safe-links", args: "-ai --safe-links -v"},
	{name: "copy-unsafe-links", args: "-ai --copy-unsafe-links"},
	{name: "munge-links", args: "-ai --munge-links"},
	{name: "copy-dirlinks", args: "-aki"},
	{name: "keep-dirlinks", args: "-aKi"},
	{name: "keep-dirlinks-delete", args: "-aKi --delete"},
	{name: "keep-dirlinks-outside", args: "-aKi --delete", from: []string{"hard", "change/"}, only: []way{local, push, pull}, prepare: leadOut("hard/sub")},
	{name: "no-links", args: "-rti --no-l -v"},
	{name: "dirs", args: "-dvi"},
	{name: "dirs-delete", args: "-dlti --delete", from: []string{"", "name/"}},
	{name: "dirs-old", args: "-lti --old-dirs"},
	{name: "no-recursion", args: "-lti", from: []string{"size/000700", "mode", "link/relative"}},
	{name: "one-file", args: "-ai", from: []string{"change/delta"}, to: "to/renamed"},
	{name: "one-file-new", args: "-ai", from: []string{"size/large"}, to: "fresh", dest: nothing},
	{name: "one-directory", args: "-ai", from: []string{"change"}, core: true},
	{name: "several-sources", args: "-ai", from: []string{"change/", "types", "size/000700", "filter", "name/"}},
	{name: "same-twice", args: "-ai", from: []string{"size/", "size/", "change/"}},
	{name: "hostile-arguments", args: "-ai", from: []string{"name/sp ace", "name/quo'te", "name/$HOME", "name/`id`", "name/semi;colon", `name/back\slash`, "name/(paren)", "name/amp&", "name/[br]", "name/\xff\xfe"}},
	{name: "hostile-arguments-protected", args: "-ai -s", from: []string{"name/sp ace", "name/star*", "name/$HOME", "name/new\nline", "name/-dash"}},
	{name: "old-arguments", args: "-ai --old-args", from: []string{"name/que?", "size/0007*"}, only: []way{push, pull, daemonPull}},
	{name: "wildcards", args: "-ai", from: []string{"size/0*", "name/[a-c]*"}, only: []way{pull, daemonPull}},
	{name: "missing-source", args: "-ai", from: []string{"size/000700", "nowhere", "mode/"}, core: true},
	{name: "ignore-missing-args", args: "-ai --ignore-missing-args", from: []string{"size/000700", "nowhere"}},
	{name: "delete-missing-args", args: "-ai --delete-missing-args", from: []string{"size/000700", "zz-extra"}},
	{name: "delete-missing-args-stats", args: "-a --delete-missing-args --stats", from: []string{"size/000700", "zz-extra"}, only: []way{local, push, daemonPush}}, // rsync counts no deletion in a pull
	{name: "update-window-nanoseconds", args: "-aiu --modify-window=-1", prepare: newerByOne("size/000700", "size/000701")},
	{name: "delete-missing-args-attrs", args: "-aAXi --delete-missing-args", from: []string{"size/000700", "zz-extra"}, needs: needAttrs, since: 30},
	{name: "relative", args: "-aRi", from: []string{"./hard/sub", "deep/./d00/d01", "size/./000700"}},
	{name: "relative-delete", args: "-aRi --delete", from: []string{"./change/", "./filter/sub"}},
	{name: "no-implied-dirs", args: "-aRi --no-implied-dirs", from: []string{"./hard/sub/c", "./deep/d00/d01"}, dest: nothing},
	{name: "mkpath", args: "-ai --mkpath", to: "to/a/b/c/", from: []string{"size/000700", "hard"}},
	{name: "no-mkpath", args: "-ai", to: "to/a/b/c/", from: []string{"size/000700"}},
	{name: "trailing-dot", args: "-ai", from: []string{"change/."}},
	{name: "no-inc-recursive", args: "-aHi --delete --no-i-r"},
	{name: "one-file-system", args: "-axi"},
	{name: "one-file-system-twice", args: "-axxi"},
	{name: "old-protocol-dirs", args: "-rvvlt", from: []string{"deep", "empty"}, dest: nothing},
	{name: "crtimes", args: "-aNi"},
	{name: "force-change", args: "-ai --force-change"},
	{name: "trust-sender", args: "-ai --trust-sender", only: []way{pull, daemonPull}},
}

// selections: which entries take part, and which are deleted.
var selections = []scenario{
	{name: "delete-before", args: "-ai --delete-before", core: true},
	{name: "delete-during", args: "-avi --delete-during"},
	{name: "delete-delay", args: "-ai --delete-delay"},
	{name: "delete-after", args: "-ai --delete-after"},
	{name: "delete-del", args: "-av --del"},
	{name: "delete-excluded", args: "-ai --delete-excluded --exclude=*.o --exclude=/size"},
	{name: "delete-excluded-before", args: "-ai --delete-excluded --delete-before --exclude=/filter/sub --exclude=change/"},
	{name: "delete-with-excludes", args: "-ai --delete --exclude=/extra/d --exclude=zz*"},
	{name: "delete-protect", args: "-ai --delete", more: []string{"--filter=P zz*", "--filter=P /extra/***", "--filter=H *.o"}},
	{name: "delete-risk", args: "-ai --delete-after", more: []string{"--filter=R zz*", "--filter=P *", "--filter=S size"}},
	{name: "max-delete", args: "-ai --delete --max-delete=3"},
	{name: "max-delete-zero", args: "-ai --delete --max-delete=0"},
	{name: "max-delete-after", args: "-ai --delete-after --max-delete=5"},
	{name: "force", args: "-ai --force"},
	{name: "no-force", args: "-ai", from: []string{"type"}},
	{name: "ignore-errors", args: "-ai --delete --ignore-errors", from: []string{"", "nowhere"}},
	{name: "delete-io-error", args: "-ai --delete", from: []string{"", "nowhere"}},
	{name: "delete-no-recursion", args: "-lti --delete"},
	{name: "delete-stats", args: "-a --delete --stats"},
	{name: "exclude", args: "-ai --exclude=*.o --exclude=/name/ --exclude=d0[3-9] --exclude=**/sub/*.tmp"},
	{name: "include-exclude", args: "-ai --include=*/ --include=*.o --include=/size/*** --exclude=*", core: true},
	{name: "include-prune", args: "-aim --include=*/ --include=*.o --exclude=*"},
	{name: "prune-delete", args: "-aim --delete --include=*/ --include=*.c --exclude=*"},
	{name: "exclude-from", args: "-ai --exclude-from=rules", files: map[string]string{"rules": "# a comment\n; another\n*.o\n\n+ /size/\n- /size/large\n/time/\n"}},
	{name: "exclude-from-nul", args: "-ai -0 --exclude-from=rules", files: map[string]string{"rules": "*.o\x00name/new\nline\x00/time\x00"}},
	{name: "include-from", args: "-ai --include-from=rules --exclude=*", files: map[string]string{"rules": "*/\n*.txt\nsize/0*\n"}},
	{name: "filter-merge", args: "-ai", more: []string{"--filter=merge rules"}, files: map[string]string{"rules": "- *.o\nhide /time\n+ /size/large\n- /size/*\n. more\n", "more": "- core\n"}},
	{name: "filter-dir-merge", args: "-ai --delete", more: []string{"--filter=: .rsync-filter"}},
	{name: "filter-dir-merge-modifiers", own: true, args: "-ai --delete", more: []string{"--filter=:en- .cvsignore", "--filter=:w .words"}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "src/filter/.words"), []byte("-_x.bak +_*.o\t-_sub/y*\n"), 0o644))
		check(t, os.WriteFile(filepath.Join(d, "src/change/.words"), []byte("-_delta\n-_zz"), 0o644))
	}},
	// What has been done by the time the sender dies of a bad rule is chance where lists are sent ahead, for rsync too.
	{name: "filter-dir-merge-dies", args: "-ai --delete --no-i-r", more: []string{"--filter=:en- .cvsignore", "--filter=:w .more"}},
	{name: "filter-bad-words", own: true, only: []way{local}, args: "-ai", more: []string{"--filter=:w .words"}, from: []string{"size/"}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "src/size/.words"), []byte("- x.bak\n"), 0o644))
	}},
	{name: "filter-F", args: "-aFi"},
	{name: "filter-FF-delete", args: "-aFFi --delete"},
	{name: "filter-parents", own: true, since: 29, args: "-ai --delete", more: []string{"--filter=: /.rules"}, from: []string{"filter/sub/", "size/"}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, ".rules"), []byte("- *.txt\n"), 0o644))
		check(t, os.WriteFile(filepath.Join(d, "src/filter/sub/.rules"), []byte("- *.o\n"), 0o644))
	}},
	{name: "filter-recursive", own: true, only: []way{local}, args: "-ai", more: []string{"--filter=: .loop"}, from: []string{"size/"}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "src/size/.loop"), []byte(". .loop\n"), 0o644))
	}},
	{name: "filter-bad-rule", own: true, only: []way{local}, args: "-ai", more: []string{"--filter=: .bad"}, from: []string{"size/"}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "src/size/.bad"), []byte("secret words\n"), 0o644))
	}},
	{name: "filter-excludes-with-dir-merge", own: true, since: 29, args: "-ai --exclude=*.o --delete-during", more: []string{"--filter=: .filt"}, only: []way{pull}, prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "src/filter/.filt"), []byte("+ *.o\n"), 0o644))
	}},
	{name: "filter-perishable", args: "-ai --delete", more: []string{"--filter=-p *.o", "--filter=-p in"}},
	{name: "filter-negated", args: "-ai", more: []string{"--filter=-! */", "--include=*/"}, from: []string{"filter/"}},
	{name: "filter-sides", args: "-ai --delete", more: []string{"--filter=-s *.o", "--filter=-r zz*", "--filter=- /time/"}},
	{name: "filter-clear", args: "-ai --exclude=*.o", more: []string{"--filter=!", "--filter=- /name/"}},
	{name: "filter-hostile", args: "-ai --delete", more: []string{`--exclude=star\*`, `--exclude=back\\slash`, "--exclude=[[]br]", "--exclude=new\nline", "--exclude=que[?]", "--exclude=\xff*"}, from: []string{"name/"}},
	{name: "filter-absolute", args: "-ai --exclude=/change/delta --exclude=/*/same", from: []string{"", "change"}},
	{name: "cvs-exclude", args: "-aCi"},
	{name: "cvs-exclude-delete", args: "-aCi --delete", env: []string{"CVSIGNORE=*.txt core2"}},
	{name: "files-from", args: "-ai --files-from=list", files: map[string]string{"list": "size/000700\nchange\n# comment\n; other\n\n./hard/sub/c\n/mode/0755\nlink/relative\n"}, core: true},
	{name: "files-from-recursive", args: "-airH --files-from=list", files: map[string]string{"list": "hard\nname/\ndeep/./d00\n"}},
	{name: "files-from-nul", args: "-ai0 --files-from=list", files: map[string]string{"list": "name/new\nline\x00name/-dash\x00name/\xff\xfe\x00name/ lead\x00name/#hash\x00name/trail \x00"}},
	{name: "files-from-missing", args: "-ai --files-from=list", files: map[string]string{"list": "size/000700\nnowhere\nmode/none\n"}},
	{name: "files-from-no-relative", args: "-ai --no-R --files-from=list", files: map[string]string{"list": "size/000700\nhard/sub/c\nfilter\n"}},
	{name: "files-from-delete", args: "-ai --delete --files-from=list -r", files: map[string]string{"list": "change\nextra\n"}},
	{name: "files-from-remote", args: "-ai --files-from=:list", files: map[string]string{"list": "size/000700\r\nchange/\n"}, only: []way{pull}},
	{name: "files-from-outside", args: "-ai --files-from=list", files: map[string]string{"list": "../beside/file\nsize/../size/000700\n"}},
	{name: "existing", args: "-ai --existing"},
	{name: "existing-delete", args: "-ai --existing --delete"},
	{name: "ignore-existing", args: "-ai --ignore-existing"},
	{name: "ignore-existing-vv", args: "-avv --ignore-existing --info=skip2"},
	{name: "update", args: "-aui"},
	{name: "update-verbose", args: "-auvv"},
	{name: "max-size", args: "-aivv --max-size=700"},
	{name: "min-size", args: "-ai --min-size=0.5k --max-size=64K"},
	{name: "size-only", args: "-ai --size-only"},
	{name: "ignore-times", args: "-aIi"},
	{name: "checksum", args: "-aci", core: true},
	{name: "checksum-no-times", args: "-rci"},
	{name: "modify-window", args: "-ai -@2"},
	{name: "modify-window-ns", args: "-ai -@-1"},
	{name: "remove-source-files", args: "-aiv --remove-source-files", own: true, core: true},
	{name: "remove-source-files-hard", args: "-aHi --remove-source-files --delete-after", own: true},
	{name: "dry-run", args: "-ani --delete", core: true},
	{name: "dry-run-verbose", args: "-anvv --delete-after"},
	{name: "dry-run-new", args: "-anv", dest: nothing},
	{name: "compare-dest", args: "-ai --compare-dest=../ref", prepare: aged("ref", "size/000700", "hard"), dest: nothing},
	{name: "compare-dest-over", args: "-ai --compare-dest=../ref --delete", prepare: aged("ref", "change")},
	{name: "copy-dest", args: "-ai --copy-dest=../ref", prepare: aged("ref", "size/000700", "hard"), dest: nothing},
	{name: "link-dest", args: "-ai --link-dest=../ref", prepare: aged("ref", "size/000700", "change"), dest: nothing, core: true},
	{name: "link-dest-hard", args: "-aHi --link-dest=../ref", prepare: aged("ref", "zhard"), dest: nothing},
	{name: "link-dest-hard-dry", args: "-aHni --link-dest=../ref", only: []way{local, push, pull}, prepare: aged("ref", "zhard"), dest: nothing},
	{name: "link-dest-all", args: "-aii --link-dest=../ref", prepare: aged("ref"), dest: nothing},
	{name: "link-dest-two", args: "-avvi --link-dest=../ref --link-dest=../ref2", prepare: both(aged("ref", "size", "change"), aged("ref2", "mode", "name")), dest: nothing},
	{name: "link-dest-attributes", args: "-aHAXi --link-dest=../ref", prepare: aged("ref", "size"), dest: nothing, needs: needAttrs, since: 30},
	{name: "copy-dest-attributes", args: "-aAXi --copy-dest=../ref", prepare: aged("ref", "size"), dest: nothing, needs: needAttrs, since: 30},
	{name: "copy-dest-attributes-older", args: "-aAXi --copy-dest=../ref", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "ref")) }, dest: nothing, needs: needAttrs, since: 30},
	{name: "link-dest-attributes-older", args: "-aHAXii --link-dest=../ref", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "ref")) }, dest: nothing, needs: needAttrs, since: 30},
	{name: "compare-dest-attributes-over", args: "-aAXi --compare-dest=../ref", prepare: aged("ref", "size"), needs: needAttrs, since: 30},
	{name: "link-dest-checksum", args: "-aci --link-dest=../ref", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "ref")) }, dest: nothing, since: 29}, // rsync itself hangs below
	{name: "link-dest-older", args: "-ai --link-dest=../ref", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "ref")) }, dest: nothing, since: 29},     // rsync itself hangs below
	{name: "link-dest-missing", args: "-ai --link-dest=../none", from: []string{"size/"}, dest: nothing},
}

// contents: how the bytes come over, and where they are put.
var contents = []scenario{
	{name: "compress", args: "-azi", core: true},
	{name: "compress-new", args: "-az --stats", dest: nothing, core: true},
	{name: "compress-zlib", args: "-ai -z --zc=zlib"},
	{name: "compress-zlib-9", args: "-ai -z --zc=zlib --zl=9 -B1000"},
	{name: "compress-zlibx", args: "-ai -zz"},
	{name: "compress-zstd", args: "-ai --compress-choice=zstd --compress-level=5"},
	{name: "compress-lz4", args: "-ai --zc=lz4"},
	{name: "compress-none", args: "-ai --zc=none"},
	{name: "compress-old", args: "-ai --old-compress"},
	{name: "compress-new-style", args: "-ai --new-compress"},
	{name: "compress-unknown", args: "-ai --zc=rot13"},
	{name: "skip-compress", args: "-azi --skip-compress=txt/000700/o"},
	{name: "checksum-choice-md4", args: "-aci --cc=md4 --no-W"},
	{name: "checksum-choice-md5", args: "-aci --cc=md5 --no-W"},
	{name: "checksum-choice-sha1", args: "-aci --cc=sha1 --no-W"},
	{name: "checksum-choice-xxh64", args: "-aci --cc=xxh64 --no-W"},
	{name: "checksum-choice-xxh3", args: "-aci --cc=xxh3 --no-W"},
	{name: "checksum-choice-xxh128", args: "-aci --cc=xxh128 --no-W"},
	{name: "checksum-choice-pair", args: "-aci --cc=xxh3,md5 --no-W"},
	{name: "checksum-choice-none", args: "-ai --cc=none"},
	{name: "checksum-choice-unknown", args: "-ai --cc=crc"},
	{name: "checksum-seed", args: "-aci --checksum-seed=12345 --no-W"},
	{name: "whole-file", args: "-aWi --stats"},
	{name: "no-whole-file", args: "-ai --no-W --stats", core: true},
	{name: "block-size", args: "-ai --no-W -B500 --stats"},
	{name: "block-size-large", args: "-ai --no-W --block-size=128K --stats"},
	{name: "inplace", args: "-ai --inplace --no-W --stats", dest: apart, core: true},
	{name: "inplace-whole", args: "-ai --inplace -W", dest: apart},
	{name: "inplace-sparse", args: "-aSi --inplace", dest: apart},
	{name: "inplace-backup", args: "-abi --inplace", dest: apart, since: 29}, // rsync itself hangs below
	{name: "append", args: "-ai --append --stats", from: []string{"change/"}, to: "to/change/"},
	{name: "append-verify", args: "-ai --append-verify --stats", from: []string{"change/"}, to: "to/change/"},
	{name: "append-all", args: "-ai --append", dest: apart},
	{name: "sparse", args: "-aSi"},
	{name: "sparse-new", args: "-aSi", dest: nothing},
	{name: "preallocate", args: "-ai --preallocate", dest: nothing},
	{name: "preallocate-sparse", args: "-aSi --preallocate", dest: nothing},
	{name: "fuzzy", args: "-avvi -y --no-W", from: []string{"fuzzy/"}, to: "to/fuzzy/"},
	{name: "fuzzy-twice", args: "-ai -yy --no-W --link-dest=../../ref/fuzzy", from: []string{"fuzzy/"}, to: "to/fuzzy/", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "ref")) },
		// A daemon of rsync 3.5.0 takes "../../ref" for "ref" here and warns that what it has just listed has vanished.
		only: []way{local, push, pull, daemonPull}},
	{name: "fuzzy-twice-within", args: "-ai -yy --no-W --link-dest=ref", from: []string{"fuzzy/"}, to: "to/fuzzy/", prepare: func(t *testing.T, d string) { older().build(t, filepath.Join(d, "to/fuzzy/ref")) }},
	{name: "fuzzy-delete", args: "-ai -y --no-W --delete-delay"},
	{name: "backup", args: "-abi", core: true},
	{name: "backup-delete", args: "-abvi --delete --info=backup"},
	{name: "backup-suffix", args: "-ai -b --suffix=.old --delete"},
	{name: "backup-dir", args: "-ai -b --backup-dir=../bak --delete", core: true},
	{name: "backup-dir-inside", args: "-ai -b --backup-dir=bak --delete --info=backup"},
	{name: "backup-dir-suffix", args: "-aHi -b --backup-dir=../bak --suffix=.1 --delete-after"},
	{name: "backup-dir-attributes", args: "-aAXi --backup --backup-dir=../bak", needs: needAttrs, since: 30},
	{name: "partial", args: "-ai --partial"},
	{name: "partial-dir", args: "-ai --partial-dir=.part --no-W", prepare: dirs("to/change/.part")},
	{name: "partial-dir-basis", args: "-ai --partial-dir=.part --no-W --stats", prepare: func(t *testing.T, d string) {
		check(t, os.MkdirAll(filepath.Join(d, "to/change/.part"), 0o700))
		check(t, os.WriteFile(filepath.Join(d, "to/change/.part/missing"), content(106, 9000), 0o600))
	}},
	{name: "partial-progress", args: "-aP --no-W"},
	{name: "delay-updates", args: "-ai --delay-updates --no-W"},
	{name: "delay-updates-delete", args: "-aHi --delay-updates --delete-after"},
	{name: "temp-dir", args: "-ai -Ttmp", prepare: dirs("to/tmp")},
	{name: "temp-dir-missing", args: "-ai --temp-dir=../none", from: []string{"size/000700"}},
	{name: "bwlimit", args: "-ai --bwlimit=500M"},
	{name: "timeout", args: "-ai --timeout=30"},
	{name: "contimeout", args: "-ai --contimeout=20", from: []string{"size/"}, only: []way{daemonPush, daemonPull}},
	{name: "blocking-io", args: "-ai --blocking-io", only: []way{push, pull}},
	{name: "fsync", args: "-ai --fsync", from: []string{"size/"}},
	{name: "max-alloc", args: "-ai --max-alloc=64m", from: []string{"size/"}},
	{name: "stop-after", args: "-ai --stop-after=10", from: []string{"size/"}},
	{name: "write-devices", args: "-ai --write-devices", from: []string{"size/000700"}, to: "to/one"},
	{name: "secluded-args", args: "-ais"},
	{name: "iconv", args: "-ai --iconv=utf8,latin1", from: []string{"name/"}, dest: nothing, env: []string{"LC_ALL=C.UTF-8"}},
	{name: "iconv-delete", args: "-ai --iconv=.,iso-8859-1 --delete", from: []string{"name/"}, to: "to/name/", env: []string{"LC_ALL=C.UTF-8"}},
}

// reports: what is printed. Every scenario compares it; these ask for more.
var reports = []scenario{
	{name: "verbose", args: "-av", core: true},
	{name: "verbose-delete", args: "-av --delete", core: true},
	{name: "very-verbose", args: "-avv --delete", core: true},
	{name: "very-verbose-new", args: "-avv", dest: nothing},
	{name: "very-verbose-itemized", args: "-avvi --delete --no-W"},
	{name: "itemized-all", args: "-aii", core: true},
	{name: "itemized-new", args: "-aiiHX", dest: nothing, needs: needAttrs, since: 30},
	{name: "quiet", args: "-aq --delete"},
	{name: "no-motd", args: "-a --no-motd", only: []way{daemonPull, daemonPush}},
	{name: "out-format", args: "-a --delete", more: []string{"--out-format=%o %i %n%L len=%l mode=%B uid=%U gid=%G mtime=%M file=%f"}, core: true},
	{name: "out-format-checksum-dry", args: "-an --delete", more: []string{"--out-format=%i %C %n"}},
	{name: "log-file-missing", args: "-a --log-file=nowhere/run.log", more: []string{"--out-format=%n"}, from: []string{"change"}},
	{name: "out-format-checksum", args: "-ac", more: []string{"--out-format=%i %C %n %'l %''l %10l|%-10l|"}},
	{name: "out-format-literal", args: "-a", more: []string{"--out-format=100%% %n in %m of %h as %u"}},
	{name: "out-format-name", args: "-a --out-format=%n"},
	{name: "stats", args: "-a --stats", core: true},
	{name: "stats-delete-new", args: "-aH --stats --delete", dest: nothing},
	{name: "stats-dry", args: "-an --stats --delete"},
	{name: "stats-human", args: "-ah --stats"},
	{name: "stats-plain-numbers", args: "-a --stats --no-h"},
	{name: "human-twice", args: "-avhh --stats"},
	{name: "progress", args: "-a --progress"},
	{name: "progress-verbose", args: "-av --progress --no-W"},
	{name: "progress-overall", args: "-a --delete --info=progress2", told: lastProgress},
	{name: "progress-overall-names", args: "-avh --delete --info=progress2,name1 --no-W", told: lastProgress},
	{name: "info-name", args: "-a --info=name2"},
	{name: "info-flags", args: "-a --info=del,copy,misc2,mount,nonreg,remove,skip2,stats2,symsafe --delete"},
	{name: "info-none", args: "-av --info=none --delete"},
	{name: "info-stats1", args: "-a --info=stats1,flist2"},
	{name: "eight-bit", args: "-av -8", from: []string{"name/"}, to: "to/name/"},
	{name: "utf8-locale", args: "-av", from: []string{"name/"}, to: "to/name/", env: []string{"LC_ALL=C.UTF-8"}},
	{name: "list-only", args: "--list-only -r", to: noDest, core: true},
	{name: "list-only-links", args: "-av --list-only", to: noDest},
	{name: "list-only-one-level", args: "", to: noDest},
	{name: "list-only-human", args: "-rh --list-only", to: noDest},
	{name: "list-only-dest", args: "-ai --list-only"},
	{name: "log-file", args: "-a --delete --log-file=run.log", core: true},
	{name: "log-file-format", args: "-av --log-file=run.log --log-file-format=%i|%n|%l"},
	{name: "log-file-dry", args: "-anv --log-file=run.log"},
	{name: "outbuf", args: "-av --outbuf=L", from: []string{"size/"}},
	{name: "msgs2stderr", args: "-avv --msgs2stderr", from: []string{"size/", "nowhere"}},
	{name: "stderr-client", args: "-av --stderr=client", from: []string{"size/", "nowhere"}},
	{name: "bad-option", args: "-a --no-such-option", from: []string{"size/"}},
	{name: "bad-value", args: "-a --max-size=many", from: []string{"size/"}},
	{name: "bad-filter", args: "-a", more: []string{"--filter=what is this"}, from: []string{"size/"}},
	{name: "bad-combination", args: "-a --append --whole-file", from: []string{"size/"}},
	{name: "bad-destination", args: "-ai", from: []string{"size/", "mode/"}, to: "to/file", prepare: func(t *testing.T, d string) {
		check(t, os.WriteFile(filepath.Join(d, "to", "file"), nil, 0o644))
	}},
}
