package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// keepRounds is for how many publications an old package and an old by-hash
// index stay, as repositories do for customers who read the indexes before.
const keepRounds = 4

// repo is the repository: deb/ for apt, rpm/ for dnf and zypper, files/ for
// anything else. Names of packages and releases are written once; the indexes
// and files/latest.bin are rewritten in place.
type repo struct {
	tree, work string
	arch       string // of Debian
	key        string // file with the public key
	home       string // gpg's
	names      []string
	version    int // of the last round

	mu sync.RWMutex
	// contents are all that a path ever had, oldest first, SHA-256.
	contents map[string][]string
	// live is how many of them had been published when the last publication
	// was complete; only paths in it are asked for.
	live map[string]int
	born map[string]int // path in the tree → round of its first content
	old  map[string]int // → round from which on something newer was there
	// payload is the content of each package and version.
	payload map[string]string // "NAME VERSION" → SHA-256
	newest  map[string]int    // name → version
}

func newRepo(ctx context.Context, dir string, packages int) (*repo, error) {
	r := &repo{
		tree: filepath.Join(dir, "tree"), work: filepath.Join(dir, "work"), home: filepath.Join(dir, "gpg"), key: filepath.Join(dir, "key.gpg"),
		contents: map[string][]string{}, live: map[string]int{}, born: map[string]int{}, old: map[string]int{}, payload: map[string]string{}, newest: map[string]int{},
	}
	for _, d := range []string{"deb/pool", "deb/dists/lab/main", "rpm/packages", "files"} {
		if err := os.MkdirAll(filepath.Join(r.tree, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(r.home, 0o700); err != nil {
		return nil, err
	}
	arch, err := output(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return nil, err
	}
	r.arch = strings.TrimSpace(string(arch))
	if _, err := output(ctx, "gpg", "--homedir", r.home, "--batch", "--passphrase", "", "--quick-gen-key", "lab@example.com", "ed25519", "sign", "never"); err != nil {
		return nil, err
	}
	if _, err := output(ctx, "gpg", "--homedir", r.home, "--batch", "--output", r.key, "--export"); err != nil {
		return nil, err
	}
	r.version = 1
	for i := range packages {
		name := fmt.Sprintf("lab-package-%02d", i)
		r.names = append(r.names, name)
		if err := r.build(ctx, name, 1); err != nil {
			return nil, err
		}
	}
	if err := r.files(); err != nil {
		return nil, err
	}
	if err := r.indexes(ctx); err != nil {
		return nil, err
	}
	return r, r.note()
}

// close ends the agent that gpg has started.
func (r *repo) close() { exec.Command("gpgconf", "--homedir", r.home, "--kill", "all").Run() }

// round publishes new versions of some packages, and removes the oldest.
func (r *repo) round(ctx context.Context, publish func() error) error {
	r.version++
	for range 1 + rand.IntN(2) {
		if err := r.build(ctx, r.names[rand.IntN(len(r.names))], r.version); err != nil {
			return err
		}
	}
	if err := r.files(); err != nil {
		return err
	}
	if err := r.indexes(ctx); err != nil {
		return err
	}
	if err := r.retire(); err != nil {
		return err
	}
	if err := r.note(); err != nil {
		return err
	}
	if err := publish(); err != nil {
		return err
	}
	r.visible()
	return nil
}

// noise is content that no other file has, 16 KiB to 1 MiB.
func noise() []byte {
	b := make([]byte, 16<<10<<rand.IntN(6)+rand.IntN(16<<10))
	src := rand.NewChaCha8([32]byte(sha256Of(fmt.Appendf(nil, "%d %d", time.Now().UnixNano(), rand.Uint64()))))
	src.Read(b)
	return b
}

func sha256Of(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

// build makes a package of both kinds.
func (r *repo) build(ctx context.Context, name string, version int) error {
	if r.newest[name] == version {
		return nil
	}
	payload := noise()
	root := filepath.Join(r.work, "root")
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	share := filepath.Join(root, "usr/share/lab", name)
	control := fmt.Sprintf("Package: %s\nVersion: %d.0\nArchitecture: all\nMaintainer: lab <lab@example.com>\nDescription: package of the lab\n", name, version)
	for file, text := range map[string]string{
		filepath.Join(root, "DEBIAN/control"): control, filepath.Join(share, "payload"): string(payload), filepath.Join(share, "version"): fmt.Sprintf("%d.0\n", version),
	} {
		if err := write(file, []byte(text)); err != nil {
			return err
		}
	}
	deb := filepath.Join(r.tree, "deb/pool", fmt.Sprintf("%s_%d.0_all.deb", name, version))
	if _, err := output(ctx, "dpkg-deb", "--root-owner-group", "-Znone", "--build", root, deb); err != nil {
		return err
	}
	spec := filepath.Join(r.work, "spec")
	text := fmt.Sprintf(`Name: %[1]s
Version: %[2]d.0
Release: 1
Summary: package of the lab
License: none
BuildArch: noarch
%%global __os_install_post %%{nil}
%%description
%%install
mkdir -p %%{buildroot}/usr/share/lab
cp -r %[3]s %%{buildroot}/usr/share/lab/
%%files
/usr/share/lab
`, name, version, share)
	if err := write(spec, []byte(text)); err != nil {
		return err
	}
	if _, err := output(ctx, "rpmbuild", "-bb", "--quiet", "--define", "_topdir "+filepath.Join(r.work, "rpm"), "--define", "_rpmdir "+filepath.Join(r.work, "out"),
		"--define", "_build_name_fmt %{NAME}-%{VERSION}-%{RELEASE}.noarch.rpm", "--define", "_binary_payload w0.gzdio", spec); err != nil {
		return err
	}
	rpm := fmt.Sprintf("%s-%d.0-1.noarch.rpm", name, version)
	if err := os.Rename(filepath.Join(r.work, "out", rpm), filepath.Join(r.tree, "rpm/packages", rpm)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.payload[fmt.Sprintf("%s %d.0", name, version)] = hex.EncodeToString(sha256Of(payload))
	r.newest[name] = version
	return nil
}

// files writes a release under a new name, and over the one before in place.
func (r *repo) files() error {
	if err := write(filepath.Join(r.tree, "files", fmt.Sprintf("release-%d.bin", r.version)), noise()); err != nil {
		return err
	}
	return write(filepath.Join(r.tree, "files/latest.bin"), noise())
}

// indexes writes the repositories' indexes, the one that customers read first
// last.
func (r *repo) indexes(ctx context.Context) error {
	deb := filepath.Join(r.tree, "deb")
	packages, err := outputIn(ctx, deb, "apt-ftparchive", "--db", filepath.Join(r.work, "packages.db"), "packages", "pool")
	if err != nil {
		return err
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(packages)
	z.Close()
	dir := filepath.Join(deb, "dists/lab/main/binary-"+r.arch)
	for name, b := range map[string][]byte{"Packages": packages, "Packages.gz": zipped.Bytes()} {
		strong := sha512.Sum512(b)
		for _, file := range []string{filepath.Join(dir, "by-hash/SHA256", hex.EncodeToString(sha256Of(b))),
			filepath.Join(dir, "by-hash/SHA512", hex.EncodeToString(strong[:])), filepath.Join(dir, name)} {
			if err := write(file, b); err != nil {
				return err
			}
		}
	}
	release, err := outputIn(ctx, deb, "apt-ftparchive", "-o", "APT::FTPArchive::Release::Suite=lab", "-o", "APT::FTPArchive::Release::Codename=lab",
		"-o", "APT::FTPArchive::Release::Components=main", "-o", "APT::FTPArchive::Release::Architectures="+r.arch+" all",
		"-o", "APT::FTPArchive::Release::Acquire-By-Hash=yes", "release", "dists/lab")
	if err != nil {
		return err
	}
	plain := filepath.Join(r.work, "Release")
	if err := write(plain, release); err != nil {
		return err
	}
	if _, err := output(ctx, "gpg", "--homedir", r.home, "--batch", "--yes", "--output", plain+".signed", "--clearsign", plain); err != nil {
		return err
	}
	signed, err := os.ReadFile(plain + ".signed")
	if err != nil {
		return err
	}
	if err := write(filepath.Join(deb, "dists/lab/InRelease"), signed); err != nil {
		return err
	}
	// Without any old metadata: that customers still get it is the host's doing.
	_, err = output(ctx, "createrepo_c", "--quiet", "--update", "--no-database", "--workers", "1", filepath.Join(r.tree, "rpm"))
	return err
}

// retire takes what is too old from what customers ask for, and after as many
// rounds again from the tree.
func (r *repo) retire() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.born {
		if !r.superseded(p) {
			continue
		}
		if r.old[p] == 0 {
			r.old[p] = r.version
		}
		if r.version-r.old[p] >= keepRounds {
			delete(r.live, p)
		}
		if r.version-r.old[p] < 2*keepRounds {
			continue
		}
		delete(r.born, p)
		if err := os.Remove(filepath.Join(r.tree, p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// superseded reports whether a newer version of the same is there.
func (r *repo) superseded(p string) bool {
	base := filepath.Base(p)
	switch {
	case strings.Contains(p, "/by-hash/"), strings.HasPrefix(base, "release-"):
		return r.born[p] < r.version
	case strings.HasPrefix(base, "lab-package-"):
		name := base[:len("lab-package-00")]
		version := fmt.Sprintf("%d.0", r.newest[name])
		return !strings.HasPrefix(base[len(name)+1:], version+"_") && !strings.HasPrefix(base[len(name)+1:], version+"-")
	}
	return false
}

// note takes down what the tree has.
func (r *repo) note() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	err := filepath.WalkDir(r.tree, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p, err := filepath.Rel(r.tree, file)
		if err != nil {
			return err
		}
		seen[p] = true
		if immutable(p) && r.born[p] > 0 {
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum := hex.EncodeToString(sha256Of(b))
		if all := r.contents[p]; len(all) == 0 || all[len(all)-1] != sum {
			r.contents[p] = append(all, sum)
		}
		if r.born[p] == 0 {
			r.born[p] = r.version
		}
		return nil
	})
	for p := range r.born {
		if !seen[p] { // createrepo_c removed it
			delete(r.born, p)
			delete(r.live, p)
		}
	}
	return err
}

// visible says that what was noted is published.
func (r *repo) visible() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.born {
		if r.old[p] == 0 || r.version-r.old[p] < keepRounds {
			r.live[p] = len(r.contents[p])
		}
	}
}

// immutable paths are written once.
func immutable(p string) bool {
	return strings.Contains(p, "lab-package-") || strings.Contains(p, "/by-hash/") || strings.Contains(p, "release-")
}

// paths are those that customers may ask for.
func (r *repo) paths() (list []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for p := range r.live {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// published is how many contents a path has had by now.
func (r *repo) published(p string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.live[p]
}

// known reports whether the path was ever published.
func (r *repo) known(p string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.contents[p]) > 0
}

// judge says what is wrong with a content that a customer got for the path,
// having asked when it had had so many.
func (r *repo) judge(p string, asked int, got string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, c := range slices.Backward(r.contents[p]) {
		switch {
		case c != got:
		case i >= asked-1:
			return nil
		default:
			return fmt.Errorf("content %d, but %d had been published before the request", i+1, asked)
		}
	}
	return errors.New("a content that never was published there")
}

// installed compares what a package manager put below root.
func (r *repo) installed(root, name string) error {
	dir := filepath.Join(root, "usr/share/lab", name)
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		return err
	}
	payload, err := os.ReadFile(filepath.Join(dir, "payload"))
	if err != nil {
		return err
	}
	v := strings.TrimSpace(string(version))
	r.mu.RLock()
	want := r.payload[name+" "+v]
	r.mu.RUnlock()
	if got := hex.EncodeToString(sha256Of(payload)); got != want {
		return fmt.Errorf("%s %s has the content %.12s, not %.12s", name, v, got, want)
	}
	return nil
}

// some returns n different package names.
func (r *repo) some(n int) (list []string) {
	for _, i := range rand.Perm(len(r.names))[:min(n, len(r.names))] {
		list = append(list, r.names[i])
	}
	return list
}

// write puts a file in its place, over an older one in place.
func write(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

func output(ctx context.Context, argv ...string) ([]byte, error) {
	return outputIn(ctx, "", argv...)
}

func outputIn(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv[:min(4, len(argv))], " "), err, lastLines(errs.String(), 5))
	}
	return out.Bytes(), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
