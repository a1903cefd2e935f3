// Package conf reads prsync's configuration file, which has the syntax of
// rsyncd.conf(5) and every one of its parameters, plus those of prsync's own.
//
//	name = value      before the first section: a global, or a default for modules
//	[module]          what follows belongs to the module
//	[global]          back to globals and defaults, for the modules still to come
//	&include PATH     a file, or every *.conf of a directory: own globals and defaults
//	&merge PATH       a file, or every *.inc of a directory: as if inserted here
//	# or ; comment    a trailing backslash continues a line
//
// A module starts as a copy of the defaults in force where its section first
// appears. A text parameter that it leaves unset takes the default in force at
// the end of the file. References to environment variables (%VAR%) in text
// parameters stay in the fields as written, since rsync sets some of those
// variables per connection: [Expand] and [Module.Expand] resolve them.
//
// What stock rsync reports and then ignores (a line without an equals sign, a
// boolean that is none, a global parameter inside a module) is a warning here.
// A parameter of an unknown name is an error that names file and line, because
// a misspelt `hosts allow` must not open a module to everyone.
package conf
