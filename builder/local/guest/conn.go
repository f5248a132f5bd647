package guest

import (
	"context"
	"net"
)

// agentConn is a connection to the agent that ends with the machine, and then
// says why.
type agentConn struct {
	net.Conn
	life context.Context
	stop func() bool
}

func newAgentConn(life context.Context, conn net.Conn) *agentConn {
	// A guest whose kernel has panicked keeps its port open for ever.
	stop := context.AfterFunc(life, func() { _ = conn.Close() })
	return &agentConn{Conn: conn, life: life, stop: stop}
}

func (c *agentConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

func (c *agentConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

func (c *agentConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (c *agentConn) explain(err error) error {
	if err == nil || c.life.Err() == nil {
		return err
	}
	return context.Cause(c.life)
}
