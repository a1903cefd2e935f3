package transfer

import (
	"strings"

	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
)

// ShowsSums reports whether a line of output may have a file's checksum in it,
// which then has to be computed.
func (c *Config) ShowsSums() bool {
	return c.Out != nil && c.Out.Has('C') || c.LogFormat != nil && c.LogFormat.Has('C')
}

// item fills in what both sides know of an entry for a line of output.
func (c *Config) item(it *report.Item, f *flist.File, op string, flags int, hlink string) {
	*it = report.Item{
		Op: op, Flags: flags, Name: f.Name(), Path: f.Name(), Mode: f.Mode, Size: f.Size, Mtime: f.Mtime,
		Link: f.Link(), Hlink: hlink, NoGroup: !c.Group || f.Flags&flist.SkipGroup != 0,
	}
	if c.Owner {
		it.UID = f.UID
	}
	it.GID = f.GID
	if c.Checksum && f.IsRegular() && c.ShowsSums() {
		it.Sum = string(c.Setup.FileSum.AppendHex(nil, f.Sum()))
	}
}

// logItem prints an entry by --out-format and into the log file.
// rsync 3.5.0 log.c:log_item.
func (c *Config) logItem(l *report.Log, code report.Code, it *report.Item) {
	if code != report.LogFile && c.Out != nil && !c.Server {
		l.Write(report.Client, c.Out.Render(it))
	}
	if code != report.Client && c.LogFormat != nil && c.LogFormat.Format != "" {
		l.Write(report.LogFile, c.LogFormat.Render(it))
	}
}

// logUnsent is logItem for a file whose data a dry run leaves out: the sum of a
// transfer (%C) is the one that no transfer has filled in, from protocol 30 on.
func (c *Config) logUnsent(l *report.Log, it *report.Item) {
	if it.Sum == "" && !c.Checksum && c.Setup.Protocol >= 30 {
		it.Sum = strings.Repeat("00", c.Setup.XferSum.Len())
	}
	c.logItem(l, report.Client, it)
}

// maybeLogItem prints an entry that is not transferred, if it is worth it.
// rsync 3.5.0 log.c:maybe_log_item.
func (c *Config) maybeLogItem(l *report.Log, it *report.Item) {
	significant := it.Flags&report.ItemSignificant&0xFFFF != 0
	itemizing := c.OutItemize > 0
	logged := c.LogFormat != nil && c.LogFormat.Has('i')
	if c.Server {
		itemizing = logged
	}
	see := itemizing && (significant || it.Hlink != "" || c.OutItemize > 1 || l.Info(report.InfoName, 2) && c.OutItemize > 0)
	local := it.Flags&report.ItemLocalChange != 0 && significant
	if c.Server {
		if c.LogFormat != nil && !c.DryRun && see && (significant || logged) {
			c.logItem(l, report.LogFile, it)
		}
		return
	}
	if see || local || it.Hlink != "" || isDirMode(it.Mode) && significant {
		code := report.Client
		if significant || logged {
			code = report.Info
		}
		c.logItem(l, code, it)
	}
}

func isDirMode(mode uint32) bool { return mode&0170000 == 0040000 }

// LogDeleted prints a deletion that the other side, or this one, made of name;
// file is how a log file calls it.
// rsync 3.5.0 log.c:log_delete.
func (c *Config) LogDeleted(l *report.Log, name, file string, mode uint32) {
	it := &report.Item{Op: "del.", Flags: report.ItemDeleted, Name: name, Path: file, Mode: mode, NoGroup: !c.Group}
	plain := report.Line{Format: "deleting %n"}
	if (!c.Server || c.Setup.Protocol < 29) && (l.Info(report.InfoDel, 1) || c.Out != nil) {
		line := &plain
		if c.Out != nil && (c.Out.Has('o') || c.Out.Has('i')) {
			line = c.Out
		}
		l.Write(report.Client, line.Render(it))
	}
	if c.LogFormat == nil || c.DryRun || c.LogFormat.Format == "" {
		return
	}
	line := &plain
	if c.LogFormat.Has('o') || c.LogFormat.Has('i') {
		line = c.LogFormat
	}
	l.Write(report.LogFile, line.Render(it))
}
