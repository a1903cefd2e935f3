package host

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Hint adds to an error of a socket, a request or a file what to do about it,
// where that is known.
func Hint(err error) error {
	if what := hint(err); what != "" {
		return fmt.Errorf("%w; %s", err, what)
	}
	return err
}

func hint(err error) string {
	var issuer x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	text := fmt.Sprint(err)
	switch {
	case err == nil:
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there: stop it, or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room there, or set \"state dir\" to another directory"
	case errors.As(err, &issuer):
		return "add the certificate of its issuer to those that this machine trusts, or name a file of them in SSL_CERT_FILE"
	case errors.As(err, &name):
		return "use a name that the certificate is for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "compare the clocks of both machines; if they agree, the certificate has to be renewed"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "the URL has to begin with http://"
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return "the URL has to begin with https://"
	case errors.As(err, &record), strings.Contains(text, "malformed HTTP"), strings.Contains(text, "readLoopPeekFail"):
		// The last is net/http's word for a server that speaks first, as rsync's does.
		return "what answers there is no web server; the URL needs the port of the host's \"http listen\""
	}
	return ""
}
