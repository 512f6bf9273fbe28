package anabranch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Client is a connection to a cluster. All of its methods may be called concurrently. It keeps a copy of the catalog,
// which lists the streams, their shards and the nodes, and connects to nodes as they are needed.
type Client struct {
	seeds   []string
	tls     *mutualTLS
	log     *slog.Logger
	catalog *catalogCopy
	leaders leaders
	// ctx ends when the client is closed. All tasks of the client end with it, and tasks counts them.
	ctx    context.Context
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu sync.Mutex
	// peers are the connections. Those of seeds have no node. Nil once the client is closed.
	peers map[destination]*peerNode
}

// Option changes a setting of [Connect].
type Option func(*Client) error

// WithMutualTLS uses TLS 1.3 with the authorities in the file ca, and shows the certificate of a client or an operator.
// All three are PEM files, as `anabranch ctl certs` makes them. They are read again for each new connection, so files
// that are replaced are used without a restart. A node is accepted if its certificate is of an authority and names a
// node of the same cluster as the client's certificate. Without this option connections are plain.
func WithMutualTLS(ca, certificate, key string) Option {
	return func(c *Client) (err error) {
		c.tls, err = newMutualTLS(ca, certificate, key)
		return err
	}
}

// WithLogger writes what happens to connections, the catalog and memberships to logger. Never partition keys or data.
// Without this option nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	return func(c *Client) error {
		c.log = logger
		return nil
	}
}

// Connect makes a client of the cluster that has nodes at seeds: "host:port" of their gRPC ports, at least one. Returns
// once a node has sent the catalog. The client finds the other nodes by itself.
//
// Errors: [InvalidError]; an error of a certificate's file; the error of ctx, if no node answers before it ends.
func Connect(ctx context.Context, seeds []string, options ...Option) (*Client, error) {
	if len(seeds) == 0 {
		return nil, invalid("seeds", "must name at least one node")
	}
	for _, seed := range seeds {
		if _, _, err := net.SplitHostPort(seed); err != nil {
			return nil, invalid("seeds", "must be host:port: %v", err)
		}
	}
	c := &Client{
		seeds:   seeds,
		log:     slog.New(slog.DiscardHandler),
		catalog: newCatalogCopy(),
		leaders: leaders{of: make(map[uint64]uint64)},
		peers:   make(map[destination]*peerNode),
	}
	for _, option := range options {
		if err := option(c); err != nil {
			return nil, err
		}
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.tasks.Go(c.followCatalog)
	if _, err := c.newestView(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client, and everything that was made with it: readers, producers and groups end with [ErrClosed].
// Close producers and groups first, because this does not deliver what they hold. Returns when all goroutines have
// ended.
func (c *Client) Close() {
	c.cancel(ErrClosed)
	c.mu.Lock()
	peers := c.peers
	c.peers = nil
	c.mu.Unlock()
	c.tasks.Wait()
	for _, p := range peers {
		p.close()
	}
}

// adopt makes Close wait for tasks, which end soon after ctx.
func (c *Client) adopt(ctx context.Context, tasks *sync.WaitGroup) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers == nil {
		return ErrClosed
	}
	c.tasks.Go(func() {
		<-ctx.Done()
		tasks.Wait()
	})
	return nil
}

// bound returns a context that ends with ctx and with the client. Call the function to free it.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// destination is a node at an address.
type destination struct {
	// node that must be there; 0 for any node of the cluster.
	node    uint64
	address string
}

// destinations returns where nodes are: those of the catalog in random order, then the seeds.
func (c *Client) destinations() []destination {
	v := c.catalog.view()
	all := make([]destination, 0, len(v.nodes)+len(c.seeds))
	for node, address := range v.nodes {
		all = append(all, destination{node, address})
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, seed := range c.seeds {
		all = append(all, destination{address: seed})
	}
	return all
}

// peerNode is a node with its connections, which are made when they are used.
type peerNode struct {
	// calls is for everything that is not a tail.
	calls *grpc.ClientConn
	// tails is a connection of its own, so that megabytes of records do not delay calls.
	tails *grpc.ClientConn
}

func (p *peerNode) close() {
	p.calls.Close()
	p.tails.Close()
}

const (
	// maxMessageBytes is above every message of a node: a page is larger than its records.
	maxMessageBytes = 64 << 20
	// windowBytes is what a node may send on one stream before the client has read it: about one page.
	windowBytes = 1 << 20
	// connectPatience is how long a connection may take to be made, with its TLS handshake.
	connectPatience = 3 * time.Second
)

// peer returns the connections to a node. Those of a former address of the node are closed.
func (c *Client) peer(to destination) *peerNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.peers[to]; known != nil {
		return known
	}
	for former, p := range c.peers {
		if to.node != 0 && former.node == to.node {
			p.close()
			delete(c.peers, former)
		}
	}
	p := &peerNode{calls: c.dial(to), tails: c.dial(to)}
	if c.peers == nil {
		p.close()
		return p
	}
	c.peers[to] = p
	return p
}

// dial makes a connection that connects when it is first used, and again after it broke.
func (c *Client) dial(to destination) *grpc.ClientConn {
	security := insecure.NewCredentials()
	if c.tls != nil {
		security = credentials.NewTLS(c.tls.config(to.node))
	}
	again := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	conn, err := grpc.NewClient("passthrough:///"+to.address,
		grpc.WithTransportCredentials(security),
		grpc.WithAuthority("node.anabranch"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: connectPatience}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(maxMessageBytes),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		// The options are constant, and passthrough takes every address.
		panic(fmt.Sprintf("connection to %s: %v", to.address, err))
	}
	return conn
}
