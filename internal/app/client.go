package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/client"
	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/session"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// client runs a transfer for the user.
func (p *program) client(ctx context.Context, o *options.Options, operands []string) error {
	role := "client"
	out, flush := outbuf(p.stdout, o.Outbuf)
	defer flush()
	line, closeLog := p.openLog(o, out)
	defer closeLog()
	err := p.transfer(ctx, o, operands, out, line, &role)
	if err == nil {
		return nil
	}
	var told *session.Reported
	if errors.As(err, &told) {
		return err
	}
	p.fail(err)
	p.exitLine(err, role)
	return err
}

// transfer connects to the other side and runs ours. role tells whose a failure is.
func (p *program) transfer(ctx context.Context, o *options.Options, operands []string, out io.Writer, line func(report.Code, string), role *string) error {
	plan, err := client.PlanOperands(o, operands)
	if err != nil {
		*role = "sender"
		if len(operands) > 0 && isRemote(operands[0]) || o.Batch == options.BatchRead {
			*role = "Receiver"
		}
		return err
	}
	env, err := p.sessionEnv()
	if err != nil {
		return err
	}
	env.Out = out
	sp := session.Params{Opts: o, Env: env, LogLine: line, Sender: plan.AmSender, Args: plan.Sources}
	if err := sp.Prepare(); err != nil {
		return err
	}
	if sp.Batch, err = session.OpenBatch(o, &env, p.argv, operands); err != nil {
		*role = "Receiver"
		return err
	}
	if o.Batch == options.BatchRead {
		*role = "generator"
		return session.ReadBatch(ctx, sp, plan.Dest)
	}
	var local *localContents
	if (plan.Kind == client.KindLocal || !plan.AmSender) && !o.DryRun && !o.ListOnly {
		local = openLocalContents(p.stateDirs(""))
		defer local.close()
		sp.Learn = local.teach()
	}
	*role = "sender"
	if plan.Kind == client.KindLocal {
		if len(o.RemoteOptions) > 0 {
			if sp.ServerOpts, err = p.localServer(o); err != nil {
				return err
			}
		}
		for _, line := range client.TraceLocal(o, plan.Dest) {
			p.say(report.Client, line)
		}
		return session.RunLocal(ctx, sp, plan.Dest)
	}
	if !plan.AmSender {
		*role = "Receiver"
		sp.Args = []string{plan.Dest}
	}
	cenv := p.clientEnv(o)
	set, err := session.Charset(o, false, p.getenv)
	if err != nil {
		return err
	}
	if set != nil {
		cenv.Convert = set.Decode
	}
	if session.OffersSwarm(o, plan.AmSender) {
		cenv.Offer = string(rune(rsyncproto.OfferLetter))
		swarm := p.newSwarmClient(ctx, o, plan, local)
		defer swarm.close()
		sp.Swarm = swarm.open
	}
	var conn *client.Conn
	if plan.Kind == client.KindShell {
		conn, err = client.RemoteShell(ctx, o, plan.Host, plan.RemotePaths(), plan.AmSender, cenv)
	} else {
		var listed bool
		say := func(text string) { p.say(report.Info, strings.TrimSuffix(text, "\n")) }
		conn, listed, err = client.Daemon(ctx, o, plan.Spec, plan.RemotePaths(), plan.AmSender, cenv, say)
		if listed && err == nil {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	sp.In, sp.Out = conn.In, session.Limit(conn.Out, o.Bwlimit)
	sp.Remote, sp.Protocol = conn.Remote, conn.Protocol
	sp.Close = func() { conn.Close() }
	sp.Wait = func() int {
		conn.Out.Close()
		status, _ := conn.Wait()
		return status
	}
	sp.Kill = conn.Kill
	sp.Lost = func() int {
		conn.Close()
		status, _ := conn.Wait()
		return status
	}
	if !plan.AmSender && !o.TrustSenderArgs {
		sp.Implied = filter.NewImplied(filter.ImpliedConfig{Relative: o.Relative, Recurse: o.Recurse, Dirs: o.Dirs || o.Recurse})
		for _, s := range plan.Sources {
			if o.FilesFrom == "" {
				sp.Implied.Add(s, plan.Kind == client.KindDaemon)
			}
		}
	}
	return session.Run(ctx, sp)
}

// localServer returns the options of a local copy's server: --remote-option
// concerns it alone. rsync 3.5.0 pipe.c:local_child.
func (p *program) localServer(o *options.Options) (*options.Options, error) {
	args := append(o.ServerArgs(true, o.Protocol, "")[1:], ".")
	// By themselves first: the last may lack its value.
	alone := append([]string{args[0]}, o.RemoteOptions...)
	if _, _, err := options.ParseServer(alone, p.optionEnv()); err != nil && !errors.Is(err, options.ErrUsage) {
		return nil, p.lostServer(err)
	}
	if o.Append != options.AppendNone && o.WholeFile != options.No {
		args = append([]string{"-W"}, args...) // which a local copy has settled by then
	}
	so, _, err := options.ParseServer(args, p.optionEnv())
	if err != nil {
		return nil, p.lostServer(err)
	}
	// What both share is not parsed anew.
	so.IncRecursive = o.IncRecursive
	so.Iconv, so.Batch, so.BatchFile, so.FilterRules, so.WholeFile = o.Iconv, o.Batch, o.BatchFile, o.FilterRules, o.WholeFile
	so.CapabilityString, so.SecludedArgs = "", false
	return so, nil
}

// lostServer is what a client ends with whose local server does not take its
// options: it meets a closed connection. The server has said why.
// rsync 3.5.0 pipe.c:local_child.
func (p *program) lostServer(err error) error {
	code := exitcode.Of(err, exitcode.Syntax)
	said := exitcode.New(code, "%w", err)
	if code == exitcode.Syntax {
		said = said.Placed(exitcode.AtLocalOptions)
	}
	// The log file is the client's.
	fmt.Fprintln(p.stderr, err)
	fmt.Fprintln(p.stderr, session.ExitLine(said, code, "Receiver"))
	return exitcode.New(exitcode.StreamIO, "rsync: connection unexpectedly closed (0 bytes received so far) [sender]")
}

func (p *program) clientEnv(o *options.Options) client.Env {
	return client.Env{
		Lookup: p.lookup, Environ: p.env, Stdin: p.stdin, Stderr: p.stderr, ReadPassword: p.readPassword,
		OpenFile: func(name string) (io.ReadCloser, error) {
			return fsroot.OwnerOpen(name, unix.O_RDONLY, 0, fsroot.Policy{InsecureLinks: o.InsecureLinks})
		},
		Acking:      func(c *net.TCPConn) io.Reader { return daemon.Acking(c) },
		SetSockopts: func(c syscall.RawConn, words string) []error { return daemon.SetSocketOptions(c, words) },
		Trace:       p.say,
		Warn:        func(line string) { p.say(report.Warning, line) },
	}
}

// readPassword asks on the terminal, whatever standard input is, and without one
// on standard error for a line of standard input, as getpass(3) does.
func (p *program) readPassword(prompt string) (string, error) {
	in, out := p.stdin, p.stderr
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		in, out = tty, tty
	}
	fmt.Fprint(out, prompt)
	if term.IsTerminal(int(in.Fd())) {
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(out)
		return string(b), err
	}
	s, err := bufio.NewReader(in).ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

func isRemote(operand string) bool {
	_, ok := options.ParseHostspec(operand)
	return ok
}
