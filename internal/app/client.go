package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/session"
)

// client runs a transfer for the user.
func (p *program) client(ctx context.Context, o *options.Options, operands []string) error {
	err := p.transfer(ctx, o, operands)
	if err == nil {
		return nil
	}
	var e *exitcode.Error
	if !errors.As(err, &e) || e.Err != nil {
		fmt.Fprintln(p.stderr, err)
	}
	var peer *session.PeerExit
	if errors.As(err, &peer) {
		return err
	}
	p.exitLine(err, "sender")
	return err
}

func (p *program) transfer(ctx context.Context, o *options.Options, operands []string) error {
	env, err := p.sessionEnv()
	if err != nil {
		return err
	}
	line, closeLog, err := p.logFile(o)
	if err != nil {
		return err
	}
	defer closeLog()
	batch, err := session.OpenBatch(o, &env, p.argv, operands)
	if err != nil {
		return err
	}
	sp := session.Params{Opts: o, Env: env, LogLine: line, Batch: batch}
	dest := operands[len(operands)-1]
	if o.Batch == options.BatchRead {
		return session.ReadBatch(ctx, sp, dest)
	}
	sp.Args = operands[:len(operands)-1]
	if len(operands) == 1 {
		sp.Args, dest = operands, ""
	}
	return session.RunLocal(ctx, sp, dest)
}
