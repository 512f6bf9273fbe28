package anabranch

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// callPatience is how long a node may take to answer a call that changes nothing.
const callPatience = 3 * time.Second

// ask makes one call to one node, which may take as long as patience.
func ask[T any](
	ctx context.Context, patience time.Duration,
	call func(context.Context, ...grpc.CallOption) (*T, error),
) (*T, *failure) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var trailer metadata.MD
	var to peer.Peer
	answer, err := call(ctx, grpc.Trailer(&trailer), grpc.Peer(&to))
	return answer, failureOf(err, trailer, &to)
}

// messages is a stream of messages from one node.
type messages[T any] struct {
	stream grpc.ServerStreamingClient[T]
	to     *peer.Peer
	close  context.CancelFunc
}

// open begins a stream of messages. Returns once the node has accepted it, which may take as long as patience. The
// stream lives until it is closed or ctx ends.
func open[T any](
	ctx context.Context, patience time.Duration,
	call func(context.Context, ...grpc.CallOption) (grpc.ServerStreamingClient[T], error),
) (*messages[T], *failure) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	to := new(peer.Peer)
	stream, err := call(ctx, grpc.Peer(to))
	if err != nil {
		cancel()
		return nil, failureOf(err, nil, to)
	}
	m := &messages[T]{stream: stream, to: to, close: cancel}
	// Without a header the node has refused: then the next message is the error.
	if header, err := stream.Header(); err != nil || header == nil {
		_, f := m.next(patience)
		m.close()
		return nil, f
	}
	return m, nil
}

// next returns the next message. A node that sends nothing for the time of silence counts as lost.
func (m *messages[T]) next(silence time.Duration) (*T, *failure) {
	lost := time.AfterFunc(silence, m.close)
	defer lost.Stop()
	message, err := m.stream.Recv()
	if err != nil {
		return nil, failureOf(err, m.stream.Trailer(), m.to)
	}
	return message, nil
}

// sleep waits. Returns false if ctx ends first.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended makes the error of a call whose ctx has ended before a node did what was asked. last is the last failure.
func ended(ctx context.Context, last *failure) error {
	cause := context.Cause(ctx)
	if last == nil {
		return cause
	}
	return fmt.Errorf("%w: %w: %w", ErrUnavailable, last, cause)
}
