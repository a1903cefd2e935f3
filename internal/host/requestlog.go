package host

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// logRequests logs every request at the debug level: what was asked for, how
// it was answered, and where the customer was sent.
func logRequests(log *slog.Logger, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !log.Enabled(r.Context(), slog.LevelDebug) {
			h.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		s := &statusWriter{ResponseWriter: w}
		broken := true
		defer func() {
			log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelDebug, "request",
				slog.String("from", r.RemoteAddr), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
				slog.Int("status", s.code), slog.Int64("bytes", s.bytes), slog.String("to", w.Header().Get("Location")),
				slog.Duration("took", time.Since(began)), slog.Bool("broken", broken), slog.String("agent", r.UserAgent()))
		}()
		h.ServeHTTP(s, r)
		broken = false
	})
}

// statusWriter notes the status and the bytes of a body. Bodies still go out
// by sendfile(2).
type statusWriter struct {
	http.ResponseWriter
	code  int
	bytes int64
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}
