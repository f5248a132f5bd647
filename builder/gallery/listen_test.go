package gallery

import (
	"net"
	"testing"
)

// listen opens a port on all addresses.
func listen(t *testing.T) (port string, closeIt func()) {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
