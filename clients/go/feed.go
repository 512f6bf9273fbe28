package anabranch

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"anabranch/clients/go/internal/pb/logpb"
)

// feed reads the records of one shard in order, each once. A replica pushes pages. When one fails or hangs, the feed
// goes on at another, behind the last page. Of a closed shard the feed asks for pages, because no record comes any
// more, and so it finds the end at once.
type feed struct {
	client  *Client
	route   route
	shardID string
	// ctx ends the feed.
	ctx context.Context
	// next is the position of the next page.
	next Position
	// end is the position after the last record; nil while the shard is open.
	end atomic.Pointer[Position]
	// open lasts as long as the shard is open, as far as the feed knows. shut ends it, and the tail with it.
	open context.Context
	shut context.CancelFunc
	tail *messages[logpb.ReadResponse]
	// broken counts the tails that broke since the last page.
	broken int
}

const (
	// tailSilence is how long a tail may be without a message. A replica sends an empty page after five seconds.
	tailSilence = 12 * time.Second
	// restWait is how long a replica that has not applied the end of a closed shard yet may wait for it.
	restWait = 500 * time.Millisecond
	// restBytes bounds a page of a closed shard.
	restBytes = 1 << 20
)

// newFeed makes a feed that ends with ctx, or with shut. The caller sets next.
func (c *Client) newFeed(ctx context.Context, to route, shardID string) *feed {
	f := &feed{client: c, route: to, shardID: shardID, ctx: ctx}
	f.open, f.shut = context.WithCancel(ctx)
	return f
}

// closeAt says that the shard is closed, and the position after its last record. May be called while the feed is read.
func (f *feed) closeAt(end Position) {
	f.end.Store(&end)
	f.shut()
}

// page returns the next page that has records. io.EOF is the end of a closed shard. [ErrShardNotFound]: the catalog
// does not list the shard any more. Other errors are of ctx, or say that records cannot be read.
func (f *feed) page() (page, error) {
	for {
		end := f.end.Load()
		if end != nil && f.next.Compare(*end) >= 0 {
			return page{}, io.EOF
		}
		var message *logpb.ReadResponse
		var err error
		if end != nil {
			message, err = f.read()
		} else {
			message, err = f.pushed()
		}
		switch {
		case end == nil && f.open.Err() != nil && f.ctx.Err() == nil:
			continue // the shard was closed meanwhile
		case err != nil:
			return page{}, err
		case message == nil:
			continue
		}
		read, err := pageOf(message, f.shardID)
		if err != nil {
			return page{}, err
		}
		f.next, f.broken = read.next, 0
		if len(read.records) > 0 {
			return read, nil
		}
	}
}

// pushed returns the next page of the tail. Nil if the tail broke, or was just begun.
func (f *feed) pushed() (*logpb.ReadResponse, error) {
	if f.tail == nil {
		return nil, f.begin()
	}
	message, broken := f.tail.next(tailSilence)
	if broken == nil {
		return message, nil
	}
	f.tail.close()
	f.tail = nil
	if broken.kind == failedKey || broken.kind == failedDenied {
		return nil, broken
	}
	if broken.leader != 0 {
		f.client.leaders.set(f.route.group, broken.leader)
	}
	f.broken++
	if !sleep(f.open, min(time.Duration(f.broken)*5*time.Millisecond, longestPause)) {
		return nil, ended(f.ctx, broken)
	}
	return nil, nil
}

// begin begins a tail. After each tail that broke another replica comes first, where no leader is known.
func (f *feed) begin() error {
	request := &logpb.TailRequest{Group: f.route.group, From: f.next.message()}
	find := f.client.search(f.route)
	find.turn = f.broken
	return find.run(f.open, shardCall{
		asks: askAny,
		// The tail lives as long as the shard is open, and not only as long as the attempt to begin it.
		send: func(_ context.Context, to *peerNode, _ bool) (refused *failure) {
			node := logpb.NewLogServiceClient(to.tails)
			f.tail, refused = open(f.open, readPatience,
				func(ctx context.Context, options ...grpc.CallOption) (grpc.ServerStreamingClient[logpb.ReadResponse], error) {
					return node.Tail(ctx, request, options...)
				})
			return refused
		},
	})
}

// read asks for the next page of a closed shard.
func (f *feed) read() (message *logpb.ReadResponse, err error) {
	request := &logpb.ReadRequest{
		Group: f.route.group, From: f.next.message(), MaxBytes: restBytes, WaitMillis: uint32(restWait.Milliseconds()),
	}
	err = f.client.search(f.route).run(f.ctx, shardCall{
		asks: askLeaderFirst,
		send: func(ctx context.Context, to *peerNode, leaderOnly bool) (refused *failure) {
			request.LeaderOnly = leaderOnly
			node := logpb.NewLogServiceClient(to.calls)
			message, refused = ask(ctx, writePatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.ReadResponse, error) {
					return node.Read(ctx, request, options...)
				})
			return refused
		},
	})
	return message, err
}

// seek finds the position at which a reader begins that wants to begin at start.
func (c *Client) seek(ctx context.Context, to route, start Start) (Position, error) {
	request := &logpb.SeekRequest{Group: to.group}
	switch start.kind {
	case startAtPosition:
		return start.position, nil
	case startTrimHorizon:
		request.Start = &logpb.SeekRequest_TrimHorizon{TrimHorizon: &logpb.Empty{}}
	case startLatest:
		request.Start = &logpb.SeekRequest_Latest{Latest: &logpb.Empty{}}
	case startAtTime:
		request.Start = &logpb.SeekRequest_AtMillis{AtMillis: start.millis}
	}
	var found Position
	err := c.search(to).run(ctx, shardCall{
		asks: askLeaderFirst,
		send: func(ctx context.Context, to *peerNode, leaderOnly bool) *failure {
			request.LeaderOnly = leaderOnly
			node := logpb.NewLogServiceClient(to.calls)
			answer, refused := ask(ctx, writePatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.SeekResponse, error) {
					return node.Seek(ctx, request, options...)
				})
			found = positionOf(answer.GetPosition())
			return refused
		},
	})
	return found, err
}
