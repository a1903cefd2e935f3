package conf

import (
	"strings"
	"sync"
	"time"
)

// scope tells where a parameter may stand.
type scope uint8

const (
	global scope = iota // before any module only
	local               // in a module, or before one as its default
)

// kind is how the text of a value is read.
type kind uint8

const (
	text     kind = iota // as written; %VAR% expanded on use
	path                 // text without trailing slashes
	number               // atoi: leading digits count
	boolean              // yes no true false 1 0
	tristate             // boolean, unset or -1
	facility             // syslog facility by name or number
	size                 // 128K, 1.5G, 10MB; bytes
	rate                 // size, or bits as in 50Mbit/s; bytes per second
	interval             // seconds, or 90s 10m 1h 1d
	address              // [ADDR]:PORT
	httpURL              // http:// or https://, trailing slashes removed
	networks             // addresses and networks, separated by spaces
	store                // memory or redis://… or rediss://… or unix://…
)

// values is everything that a line of the file can set.
type values struct {
	global Global
	module Module
	// set marks the text parameters that were given a value, which an
	// unset one of a module inherits at the end of the file.
	set map[*param]bool
}

// param is one row of the table: its name, where it may stand, how its value
// is read and where it goes.
type param struct {
	name  string
	scope scope
	kind  kind
	field func(v *values) any
	def   any
	ours  bool
}

// table holds all parameters: first rsync's (daemon-parm.txt of rsync 3.5.0
// fixes names, types and defaults), then prsync's.
var table = []*param{
	{name: "address", kind: text, field: func(v *values) any { return &v.global.Address }},
	{name: "daemon chroot", kind: text, field: func(v *values) any { return &v.global.DaemonChroot }},
	{name: "daemon gid", kind: text, field: func(v *values) any { return &v.global.DaemonGID }},
	{name: "daemon uid", kind: text, field: func(v *values) any { return &v.global.DaemonUID }},
	{name: "motd file", kind: text, field: func(v *values) any { return &v.global.MOTDFile }},
	{name: "pid file", kind: text, field: func(v *values) any { return &v.global.PIDFile }},
	{name: "proxy protocol hosts", kind: text, field: func(v *values) any { return &v.global.ProxyProtocolHosts }},
	{name: "socket options", kind: text, field: func(v *values) any { return &v.global.SocketOptions }},
	{name: "listen backlog", kind: number, def: 5, field: func(v *values) any { return &v.global.ListenBacklog }},
	{name: "port", kind: number, def: 0, field: func(v *values) any { return &v.global.Port }},
	{name: "proxy protocol", kind: boolean, def: false, field: func(v *values) any { return &v.global.ProxyProtocol }},

	{name: "auth digest", scope: local, kind: text, field: func(v *values) any { return &v.module.AuthDigest }},
	{name: "auth users", scope: local, kind: text, field: func(v *values) any { return &v.module.AuthUsers }},
	{name: "charset", scope: local, kind: text, field: func(v *values) any { return &v.module.Charset }},
	{name: "comment", scope: local, kind: text, field: func(v *values) any { return &v.module.Comment }},
	{name: "dont compress", scope: local, kind: text, def: defaultDontCompress(), field: func(v *values) any { return &v.module.DontCompress }},
	{name: "early exec", scope: local, kind: text, field: func(v *values) any { return &v.module.EarlyExec }},
	{name: "exclude", scope: local, kind: text, field: func(v *values) any { return &v.module.Exclude }},
	{name: "exclude from", scope: local, kind: text, field: func(v *values) any { return &v.module.ExcludeFrom }},
	{name: "filter", scope: local, kind: text, field: func(v *values) any { return &v.module.Filter }},
	{name: "gid", scope: local, kind: text, field: func(v *values) any { return &v.module.GID }},
	{name: "hosts allow", scope: local, kind: text, field: func(v *values) any { return &v.module.HostsAllow }},
	{name: "hosts deny", scope: local, kind: text, field: func(v *values) any { return &v.module.HostsDeny }},
	{name: "include", scope: local, kind: text, field: func(v *values) any { return &v.module.Include }},
	{name: "include from", scope: local, kind: text, field: func(v *values) any { return &v.module.IncludeFrom }},
	{name: "incoming chmod", scope: local, kind: text, field: func(v *values) any { return &v.module.IncomingChmod }},
	{name: "lock file", scope: local, kind: text, def: "/var/run/rsyncd.lock", field: func(v *values) any { return &v.module.LockFile }},
	{name: "log file", scope: local, kind: text, field: func(v *values) any { return &v.module.LogFile }},
	{name: "log format", scope: local, kind: text, def: "%o %h [%a] %m (%u) %f %l", field: func(v *values) any { return &v.module.LogFormat }},
	{name: "name", scope: local, kind: text, field: func(v *values) any { return &v.module.Name }},
	{name: "name converter", scope: local, kind: text, field: func(v *values) any { return &v.module.NameConverter }},
	{name: "outgoing chmod", scope: local, kind: text, field: func(v *values) any { return &v.module.OutgoingChmod }},
	{name: "post-xfer exec", scope: local, kind: text, field: func(v *values) any { return &v.module.PostXferExec }},
	{name: "pre-xfer exec", scope: local, kind: text, field: func(v *values) any { return &v.module.PreXferExec }},
	{name: "refuse options", scope: local, kind: text, field: func(v *values) any { return &v.module.RefuseOptions }},
	{name: "secrets file", scope: local, kind: text, field: func(v *values) any { return &v.module.SecretsFile }},
	{name: "syslog tag", scope: local, kind: text, def: "rsyncd", field: func(v *values) any { return &v.module.SyslogTag }},
	{name: "uid", scope: local, kind: text, field: func(v *values) any { return &v.module.UID }},
	{name: "path", scope: local, kind: path, field: func(v *values) any { return &v.module.Path }},
	{name: "temp dir", scope: local, kind: path, field: func(v *values) any { return &v.module.TempDir }},
	{name: "max connections", scope: local, kind: number, def: 0, field: func(v *values) any { return &v.module.MaxConnections }},
	{name: "max verbosity", scope: local, kind: number, def: 1, field: func(v *values) any { return &v.module.MaxVerbosity }},
	{name: "timeout", scope: local, kind: number, def: 0, field: func(v *values) any { return &v.module.Timeout }},
	{name: "syslog facility", scope: local, kind: facility, def: facilities["daemon"], field: func(v *values) any { return &v.module.SyslogFacility }},
	{name: "fake super", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.FakeSuper }},
	{name: "forward lookup", scope: local, kind: boolean, def: true, field: func(v *values) any { return &v.module.ForwardLookup }},
	{name: "ignore errors", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.IgnoreErrors }},
	{name: "ignore nonreadable", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.IgnoreNonreadable }},
	{name: "insecure links", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.InsecureLinks }},
	{name: "list", scope: local, kind: boolean, def: true, field: func(v *values) any { return &v.module.List }},
	{name: "read only", scope: local, kind: boolean, def: true, field: func(v *values) any { return &v.module.ReadOnly }},
	{name: "reverse lookup", scope: local, kind: boolean, def: true, field: func(v *values) any { return &v.module.ReverseLookup }},
	{name: "strict modes", scope: local, kind: boolean, def: true, field: func(v *values) any { return &v.module.StrictModes }},
	{name: "transfer logging", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.TransferLogging }},
	{name: "write only", scope: local, kind: boolean, def: false, field: func(v *values) any { return &v.module.WriteOnly }},
	{name: "munge symlinks", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.MungeSymlinks }},
	{name: "numeric ids", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.NumericIDs }},
	{name: "open noatime", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.OpenNoatime }},
	{name: "use chroot", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.UseChroot }},

	{ours: true, name: "http listen", kind: address, field: func(v *values) any { return &v.global.HTTPListen }},
	{ours: true, name: "http proxies", kind: networks, field: func(v *values) any { return &v.global.HTTPProxies }},
	{ours: true, name: "public url", kind: httpURL, field: func(v *values) any { return &v.global.PublicURL }},
	{ours: true, name: "swarm listen", kind: address, field: func(v *values) any { return &v.global.SwarmListen }},
	{ours: true, name: "state dir", kind: path, field: func(v *values) any { return &v.global.StateDir }},
	{ours: true, name: "tracker store", kind: store, def: "memory", field: func(v *values) any { return &v.global.TrackerStore }},
	{ours: true, name: "volunteer secrets file", kind: text, field: func(v *values) any { return &v.global.VolunteerSecretsFile }},
	{ours: true, name: "customer limit", kind: number, def: 0, field: func(v *values) any { return &v.global.CustomerLimit }},
	{ours: true, name: "uplink", kind: rate, def: int64(0), field: func(v *values) any { return &v.global.Uplink }},
	{ours: true, name: "tls certificate", kind: text, field: func(v *values) any { return &v.global.TLSCertificate }},
	{ours: true, name: "tls key", kind: text, field: func(v *values) any { return &v.global.TLSKey }},
	{ours: true, name: "central url", kind: httpURL, field: func(v *values) any { return &v.global.CentralURL }},
	{ours: true, name: "volunteer name", kind: text, field: func(v *values) any { return &v.global.VolunteerName }},
	{ours: true, name: "volunteer secret", kind: text, field: func(v *values) any { return &v.global.VolunteerSecret }},

	{ours: true, name: "swarm", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.Swarm }},
	{ours: true, name: "redirect", scope: local, kind: tristate, def: Unset, field: func(v *values) any { return &v.module.Redirect }},
	{ours: true, name: "redirect min size", scope: local, kind: size, def: int64(128 << 10), field: func(v *values) any { return &v.module.RedirectMinSize }},
	{ours: true, name: "rescan interval", scope: local, kind: interval, def: 10 * time.Minute, field: func(v *values) any { return &v.module.RescanInterval }},
}

// byKey finds a parameter by its folded name.
var byKey = sync.OnceValue(func() map[string]*param {
	m := make(map[string]*param, len(table))
	for _, p := range table {
		m[fold(p.name)] = p
	}
	return m
})

// fold brings a parameter or section name to the form in which two spellings
// compare equal: case and white space do not count
// (rsync 3.5.0 loadparm.c:strwiEQ).
func fold(name string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r < 0x80 && isSpace(byte(r)) {
			return -1
		}
		return r
	}, name))
}

// defaults returns the values before the first line is read.
func defaults() *values {
	v := &values{set: map[*param]bool{}}
	for _, p := range table {
		switch f := p.field(v).(type) {
		case *string:
			if s, ok := p.def.(string); ok {
				*f = s
				v.set[p] = true
			}
		case *int:
			*f = p.def.(int)
		case *int64:
			*f = p.def.(int64)
		case *bool:
			*f = p.def.(bool)
		case *Tri:
			*f = p.def.(Tri)
		case *time.Duration:
			*f = p.def.(time.Duration)
		}
	}
	return v
}

// Parameter describes one parameter, for manuals and completions.
type Parameter struct {
	Name   string
	Global bool // stands before the modules only
	Ours   bool // not one of rsync's
}

// Parameters returns all parameters, rsync's first.
func Parameters() []Parameter {
	list := make([]Parameter, len(table))
	for i, p := range table {
		list[i] = Parameter{Name: p.name, Global: p.scope == global, Ours: p.ours}
	}
	return list
}

// Known reports whether name is a parameter, for checking --dparam.
func Known(name string) bool { return byKey()[fold(name)] != nil }

// facilities are the names that `syslog facility` takes, with syslog(3)'s
// numbers; others may be given as a number.
var facilities = map[string]int{
	"kern": 0 << 3, "user": 1 << 3, "mail": 2 << 3, "daemon": 3 << 3,
	"auth": 4 << 3, "security": 4 << 3, "syslog": 5 << 3, "lpr": 6 << 3,
	"news": 7 << 3, "uucp": 8 << 3, "cron": 9 << 3, "authpriv": 10 << 3,
	"ftp": 11 << 3, "local0": 16 << 3, "local1": 17 << 3, "local2": 18 << 3,
	"local3": 19 << 3, "local4": 20 << 3, "local5": 21 << 3,
	"local6": 22 << 3, "local7": 23 << 3,
}

// defaultDontCompress turns the suffixes that rsync(1) lists under
// --skip-compress into the patterns of `dont compress`.
func defaultDontCompress() string {
	const suffixes = "" +
		"3g2 3gp 7z aac ace apk avi bz2 deb dmg ear f4v flac flv gpg gz iso " +
		"jar jpeg jpg lrz lz lz4 lzma lzo m1a m1v m2a m2ts m2v m4a m4b m4p " +
		"m4r m4v mka mkv mov mp1 mp2 mp3 mp4 mpa mpeg mpg mpv mts odb odf odg " +
		"odi odm odp ods odt oga ogg ogm ogv ogx opus otg oth otp ots ott oxt " +
		"png qt rar rpm rz rzip spx squashfs sxc sxd sxg sxm sxw sz tbz tbz2 " +
		"tgz tlz ts txz tzo vob war webm webp xz z zip zst"
	return "*." + strings.ReplaceAll(suffixes, " ", " *.")
}
