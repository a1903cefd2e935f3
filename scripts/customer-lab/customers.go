package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tool is a customer's program.
type tool struct {
	program string
	agent   string // part of its User-Agent
	visit   func(l *lab, ctx context.Context, dir string) error
}

// perVisit is how many packages a package manager installs at a time.
const perVisit = 8

var tools = map[string]tool{
	"apt":    {"apt-get", "APT-HTTP", (*lab).apt},
	"dnf":    {"dnf", "libdnf", (*lab).dnf},
	"zypper": {"zypper", "ZYpp", (*lab).zypper},
	"curl":   {"curl", "curl/", fetcher("curl", "-fsSL", "--max-time", "60", "-o", "OUT", "URL")},
	"wget":   {"wget", "Wget/", fetcher("wget", "-q", "--tries=1", "--timeout=60", "-O", "OUT", "URL")},
	"aria2": {"aria2c", "aria2/", fetcher("aria2c", "--quiet", "--no-conf", "--max-tries=1", "--allow-overwrite=true", "--min-split-size=1M",
		"--split=4", "--max-connection-per-server=4", "--dir=DIR", "--out=NAME", "URL")},
}

func toolNames() (names []string) {
	for n := range tools {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// customer runs a tool again and again, as a customer who is new each time.
func (l *lab) customer(ctx context.Context, name string) error {
	dir := filepath.Join(l.dir, "customer-"+name)
	for ctx.Err() == nil {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		err := tools[name].visit(l, ctx, dir)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			l.report.visit(name)
		case l.restart && l.site.hub.down(err):
			l.report.lost(name) // nobody was there to ask
		default:
			l.report.fail(name, err)
		}
	}
	return nil
}

// fetcher makes a visit of a program that fetches one URL.
func fetcher(argv ...string) func(*lab, context.Context, string) error {
	return func(l *lab, ctx context.Context, dir string) error {
		paths := l.repo.paths()
		p := paths[rand.IntN(len(paths))]
		if rand.IntN(8) == 0 {
			p = "files/latest.bin" // the one that changes most
		}
		asked := l.repo.published(p)
		if asked == 0 {
			return nil // it has just been retired
		}
		out := filepath.Join(dir, "got")
		args := slices.Clone(argv)
		for i := range args {
			args[i] = strings.NewReplacer("OUT", out, "DIR", dir, "NAME", "got", "URL", l.site.url+"/"+module+"/"+escape(p)).Replace(args[i])
		}
		if err := l.tool(ctx, dir, nil, args...); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		sum, err := sumFile(out)
		if err != nil {
			return err
		}
		if err := l.repo.judge(p, asked, sum); err != nil {
			return fmt.Errorf("%s: WRONG CONTENT: %w", p, err)
		}
		return nil
	}
}

func escape(p string) string { return (&url.URL{Path: p}).EscapedPath() }

func sumFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// toolError is a program's failure with all that it said.
type toolError struct {
	err  error
	said string
}

func (e *toolError) Error() string { return fmt.Sprintf("%v: %s", e.err, lastLines(e.said, 12)) }
func (e *toolError) Unwrap() error { return e.err }

// tool runs a customer's program.
func (l *lab) tool(ctx context.Context, dir string, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+dir, "http_proxy=", "DEBIAN_FRONTEND=noninteractive"), env...)
	if err := cmd.Run(); err != nil {
		return &toolError{fmt.Errorf("%s: %w", argv[0], err), out.String()}
	}
	return nil
}

// apt updates its lists and installs packages below dir.
func (l *lab) apt(ctx context.Context, dir string) error {
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg/info",
		"var/lib/dpkg/updates", "var/log/apt"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf(`Dir "%[1]s/";
Dir::State::status "%[1]s/var/lib/dpkg/status";
Dir::Log "%[1]s/var/log/apt";
APT::Sandbox::User "root";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
Acquire::Languages "none";
Acquire::Retries "0";
DPkg::Options { "--root=%[1]s"; "--force-not-root"; "--force-unsafe-io"; "--log=/dev/null"; };
DPkg::Use-Pty "0";
`, dir, l.repo.arch)
	for file, text := range map[string]string{
		"apt.conf": conf, "var/lib/dpkg/status": "", "var/lib/dpkg/available": "",
		"etc/apt/sources.list": fmt.Sprintf("deb [signed-by=%s] %s/%s/deb lab main\n", l.repo.key, l.site.url, module),
	} {
		if err := write(filepath.Join(dir, file), []byte(text)); err != nil {
			return err
		}
	}
	env := []string{"APT_CONFIG=" + filepath.Join(dir, "apt.conf")}
	if err := l.tool(ctx, dir, env, "apt-get", "-q", "-o", "Debug::NoLocking=1", "--error-on=any", "update"); err != nil {
		return err
	}
	names := l.repo.some(perVisit)
	if err := l.tool(ctx, dir, env, append([]string{"apt-get", "-q", "-y", "-o", "Debug::NoLocking=1", "install"}, names...)...); err != nil {
		return err
	}
	return l.installed(dir, names)
}

// dnf installs packages below dir.
func (l *lab) dnf(ctx context.Context, dir string) error {
	names := l.repo.some(perVisit)
	root, conf := filepath.Join(dir, "root"), filepath.Join(dir, "dnf.conf")
	if err := write(conf, []byte("[main]\n")); err != nil {
		return err
	}
	if err := l.tool(ctx, dir, nil, append([]string{"dnf", "-y", "-q", "-c", conf, "--installroot=" + root, "--releasever=1", "--disableplugin=*",
		"--setopt=reposdir=" + dir, "--setopt=cachedir=" + filepath.Join(dir, "cache"), "--setopt=logdir=" + dir, "--setopt=retries=1",
		"--repofrompath=lab," + l.site.url + "/" + module + "/rpm", "--setopt=lab.gpgcheck=0", "install"}, names...)...); err != nil {
		return err
	}
	return l.installed(root, names)
}

// zypper installs packages below dir.
func (l *lab) zypper(ctx context.Context, dir string) error {
	names := l.repo.some(perVisit)
	root := filepath.Join(dir, "root")
	base := []string{"zypper", "--root", root, "--non-interactive", "--no-gpg-checks", "--quiet"}
	if err := l.tool(ctx, dir, nil, append(base[:len(base):len(base)], "addrepo", "--no-gpgcheck", l.site.url+"/"+module+"/rpm", "lab")...); err != nil {
		return err
	}
	if err := l.tool(ctx, dir, nil, append(append(base[:len(base):len(base)], "install", "--no-recommends"), names...)...); err != nil {
		return err
	}
	return l.installed(root, names)
}

func (l *lab) installed(root string, names []string) error {
	for _, n := range names {
		if err := l.repo.installed(root, n); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s was not installed: %w", n, err)
			}
			return fmt.Errorf("WRONG CONTENT: %w", err)
		}
	}
	return nil
}

// down reports whether a failure is that of a host which is being restarted.
func (p *process) down(err error) bool {
	var t *toolError
	if !errors.As(err, &t) {
		return false
	}
	said := strings.ToLower(t.said)
	for _, bad := range []string{"hash", "checksum", "mismatch", "404", "wrong content"} {
		if strings.Contains(said, bad) {
			return false
		}
	}
	return true
}
