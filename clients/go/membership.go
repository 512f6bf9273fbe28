package anabranch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"anabranch/clients/go/internal/pb/consumerpb"
)

// The tasks of a [Group]:
//
//	run       joins again when the member was removed; watches the member's shards and starts and stops their readers
//	beat      says that the member is alive
//	read      one for each shard that is read: holds one batch for Next
//	giveBack  tells the cluster that the application is finished with a shard: with a shard that another member is to
//	          get, or with a closed shard that is processed to its end
//
// Never: a batch of a shard comes after the cluster was told that the member is finished with the shard.

const (
	// coordinatorPatience is how long a node may take to answer a member.
	coordinatorPatience = 3 * time.Second
	// coordinatorPause is for a group that is about to get a coordinator.
	coordinatorPause = 100 * time.Millisecond
	// watchSilence is how long a watch may be without a message. One comes at least each five seconds.
	watchSilence = 12 * time.Second
	// callShards is the most shards of one call.
	callShards = 100
	// mostUnsupported is how many times in a row nodes may not know the calls. While a cluster is upgraded, some do not.
	mostUnsupported = 20
)

// call makes a call to the coordinator of the group, wherever it is. Returns nil, the failure that ends the call, or an
// error that wraps that of ctx. A group or member that is not known ends the call.
func (g *Group) call(
	ctx context.Context, send func(context.Context, consumerpb.ConsumerGroupServiceClient) *failure,
) error {
	g.mu.Lock()
	to := g.coordinator
	g.mu.Unlock()
	isHint := false
	for unsupported := 0; ; {
		if to.address == "" {
			to = g.client.destinations()[0]
		}
		f := send(ctx, consumerpb.NewConsumerGroupServiceClient(g.client.peer(to).calls))
		if f == nil {
			g.mu.Lock()
			g.coordinator = to
			g.mu.Unlock()
			return nil
		}
		if !f.is(failedUnsupported) {
			unsupported = 0
		} else if unsupported++; unsupported == mostUnsupported {
			return f
		}
		if (f.isFinal() && unsupported == 0) || f.is(failedNotFound) {
			return f
		}
		// A hint is followed at once, but not a hint of the node that a hint has named.
		coordinator := destination{f.leader, g.client.catalog.view().nodes[f.leader]}
		if isHint = !isHint && coordinator.address != "" && coordinator != to; !isHint {
			if ctx.Err() != nil || !sleep(ctx, coordinatorPause) {
				return ended(ctx, f)
			}
		}
		to = coordinator
	}
}

// enter joins the group. A node that does not know the stream may be behind, as long as the client's catalog has it.
func (g *Group) enter(ctx context.Context) error {
	for {
		var joined *consumerpb.JoinResponse
		err := g.call(ctx, func(ctx context.Context, node consumerpb.ConsumerGroupServiceClient) (f *failure) {
			joined, f = ask(ctx, coordinatorPatience,
				func(ctx context.Context, options ...grpc.CallOption) (*consumerpb.JoinResponse, error) {
					return node.Join(ctx, g.join, options...)
				})
			return f
		})
		if err == nil {
			g.session = time.Duration(joined.SessionMillis) * time.Millisecond
			return nil
		}
		unknown, _ := err.(*failure)
		if !unknown.is(failedNotFound) {
			return fmt.Errorf("joining group %s of %s: %w", g.ref.Group, g.ref.Stream, err)
		}
		if !g.hasStream() {
			return g.gone()
		}
		if !sleep(ctx, coordinatorPause) {
			return ended(ctx, unknown)
		}
	}
}

func (g *Group) hasStream() bool {
	return g.client.catalog.view().stream(g.ref.Stream, g.streamID) != nil
}

func (g *Group) gone() error { return fmt.Errorf("%w: %s", ErrStreamNotFound, g.ref.Stream) }

// run keeps the membership until the group is closed.
func (g *Group) run() {
	for {
		ctx, cancel := context.WithCancel(g.ctx)
		session := g.session
		g.tasks.Go(func() {
			defer cancel()
			g.beat(ctx, session)
		})
		g.watch(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		g.client.log.Warn("removed from the consumer group, joining again", "stream", g.ref.Stream, "group", g.ref.Group)
		g.apply(nil)
		err := g.enter(g.ctx)
		for errors.Is(err, ErrThrottled) && sleep(g.ctx, time.Second) {
			err = g.enter(g.ctx)
		}
		if err != nil {
			g.stop(err)
			return
		}
	}
}

// beat says that the member is alive, until the cluster does not know it.
func (g *Group) beat(ctx context.Context, session time.Duration) {
	request := &consumerpb.HeartbeatRequest{Group: g.ref, Member: g.member}
	for sleep(ctx, session/3) {
		if !g.hasStream() {
			g.stop(g.gone())
			return
		}
		err := g.call(ctx, func(ctx context.Context, node consumerpb.ConsumerGroupServiceClient) *failure {
			_, f := ask(ctx, coordinatorPatience,
				func(ctx context.Context, options ...grpc.CallOption) (*consumerpb.HeartbeatResponse, error) {
					return node.Heartbeat(ctx, request, options...)
				})
			return f
		})
		if unknown, _ := err.(*failure); unknown.is(failedNotFound) {
			return
		}
	}
}

// watch follows the member's shards until the cluster does not know the member.
func (g *Group) watch(ctx context.Context) {
	request := &consumerpb.WatchRequest{Group: g.ref, Member: g.member}
	for {
		var shards *messages[consumerpb.WatchResponse]
		err := g.call(ctx, func(ctx context.Context, node consumerpb.ConsumerGroupServiceClient) (f *failure) {
			shards, f = open(ctx, coordinatorPatience,
				func(ctx context.Context, options ...grpc.CallOption) (
					grpc.ServerStreamingClient[consumerpb.WatchResponse], error,
				) {
					return node.Watch(ctx, request, options...)
				})
			return f
		})
		if err != nil {
			if refused, _ := err.(*failure); refused != nil && !refused.is(failedNotFound) {
				g.stop(err)
			}
			return
		}
		f := g.follow(shards)
		shards.close()
		if f.is(failedNotFound) || !sleep(ctx, coordinatorPause) {
			return
		}
	}
}

func (g *Group) follow(shards *messages[consumerpb.WatchResponse]) *failure {
	for {
		message, f := shards.next(watchSilence)
		if f != nil {
			return f
		}
		g.apply(message.Shards)
	}
}

// apply makes the member own these shards, and no others.
func (g *Group) apply(shards []*consumerpb.OwnedShard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	listed := make(map[uint32]bool, len(shards))
	for _, shard := range shards {
		listed[shard.Shard] = true
		o := g.owned[shard.Shard]
		if o == nil || o.shard.Epoch < shard.Epoch {
			if o != nil {
				g.lose(o)
			}
			o = &ownership{group: g, storing: make(chan struct{}, 1)}
			g.owned[shard.Shard] = o
		}
		o.shard = shard
		if o.feed != nil && shard.End != nil {
			o.feed.closeAt(positionOf(shard.End))
		}
		switch isRead := !shard.Leaving && !o.isLost && !o.isGivenBack && !o.atEnd; {
		case isRead && o.feed == nil:
			g.resume(o)
		case !isRead:
			g.pause(o)
		}
	}
	for number, o := range g.owned {
		if !listed[number] {
			g.lose(o)
			delete(g.owned, number)
		}
	}
	wake(g.hasChange)
}

// lose ends an ownership. The caller holds mu.
func (g *Group) lose(o *ownership) {
	o.isLost = true
	g.pause(o)
}

// pause stops to read a shard, and takes back the batch that waits for Next. The caller holds mu.
func (g *Group) pause(o *ownership) {
	if o.feed != nil {
		o.pause()
		o.feed, o.batch = nil, nil
		g.ready = slices.DeleteFunc(g.ready, func(ready *ownership) bool { return ready == o })
	}
}

// resume begins to read a shard, behind what the application has got. The caller holds mu.
func (g *Group) resume(o *ownership) {
	to := route{group: o.shard.Group}
	for _, node := range o.shard.Nodes {
		to.nodes = append(to.nodes, destination{node.Id, node.Address})
	}
	ctx, cancel := context.WithCancel(g.ctx)
	f := g.client.newFeed(ctx, to, o.shard.ShardId)
	if o.shard.End != nil {
		f.closeAt(positionOf(o.shard.End))
	}
	o.feed, o.pause, o.taken = f, cancel, make(chan struct{}, 1)
	shard, taken := o.shard, o.taken
	g.tasks.Go(func() {
		defer cancel()
		err := g.read(o, f, shard, taken)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrShardNotFound):
			g.client.log.Info("the shard of the member has expired", "stream", g.ref.Stream, "shard", shard.ShardId)
		default:
			g.stop(fmt.Errorf("reading %s of %s: %w", shard.ShardId, g.ref.Stream, err))
		}
	})
}

// read gives the batches of a shard to Next, one after the other. Returns nil at the end of the shard, or when reading
// was stopped.
func (g *Group) read(o *ownership, f *feed, shard *consumerpb.OwnedShard, taken <-chan struct{}) error {
	from, err := g.beginning(o, f, shard)
	if err != nil {
		return err
	}
	f.next = from
	for {
		read, err := f.page()
		if err != nil && err != io.EOF {
			return err
		}
		g.mu.Lock()
		isStopped := o.feed != f
		switch {
		case isStopped:
		case err == io.EOF:
			o.atEnd, o.feed = true, nil
			wake(g.hasChange)
		default:
			o.batch = &Batch{ShardID: shard.ShardId, Epoch: shard.Epoch, Records: read.records, owner: o, next: read.next}
			g.ready = append(g.ready, o)
			wake(g.hasReady)
		}
		g.mu.Unlock()
		if isStopped || err == io.EOF {
			return nil
		}
		select {
		case <-taken:
		case <-f.ctx.Done():
			return nil
		}
	}
}

// beginning returns the position at which to read the shard.
func (g *Group) beginning(o *ownership, f *feed, shard *consumerpb.OwnedShard) (Position, error) {
	g.mu.Lock()
	hasBegun, from := o.hasBegun, o.seen
	g.mu.Unlock()
	if hasBegun {
		return from, nil
	}
	start := TrimHorizon()
	switch at := shard.Start.(type) {
	case *consumerpb.OwnedShard_AtMillis:
		start = Start{kind: startAtTime, millis: at.AtMillis}
	}
	if shard.Next != nil {
		start = AtPosition(positionOf(shard.Next))
	}
	from, err := g.client.seek(f.ctx, f.route, start)
	if err != nil {
		return from, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o.feed == f {
		o.hasBegun = true
		o.seen, o.wanted, o.stored = from, from, from
	}
	return from, nil
}

// giveBack is the task that tells the cluster with which shards the application is finished.
func (g *Group) giveBack() {
	for {
		select {
		case <-g.hasChange:
		case <-g.ctx.Done():
			return
		}
		for {
			owners, checkpoints := g.finished()
			if len(owners) == 0 {
				break
			}
			err := g.store(g.ctx, owners, checkpoints)
			for _, o := range owners {
				<-o.storing
			}
			if err != nil && !errors.Is(err, ErrOwnershipLost) && !sleep(g.ctx, time.Second) {
				return
			}
		}
	}
}

// finished returns checkpoints that give back leaving shards whose last batch the application has left, and that store
// the end of closed shards of which the application has checkpointed everything. While a checkpoint of a shard is under
// way, the shard waits. The caller ends storing for each owner.
func (g *Group) finished() (owners []*ownership, checkpoints []*consumerpb.ShardCheckpoint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.owned {
		if o.isLost || o.isGivenBack || len(owners) == callShards {
			continue
		}
		release := o.shard.Leaving && g.inHand != o
		ends := o.atEnd && o.stored.Compare(o.seen) >= 0 && o.stored.Compare(positionOf(o.shard.End)) < 0
		if !release && !ends {
			continue
		}
		select {
		case o.storing <- struct{}{}:
		default:
			continue
		}
		checkpoint := &consumerpb.ShardCheckpoint{Shard: o.shard.Shard, Epoch: o.shard.Epoch, Release: release}
		if ends {
			checkpoint.Next = o.shard.End
		}
		owners, checkpoints = append(owners, o), append(checkpoints, checkpoint)
	}
	return owners, checkpoints
}

// wake lets the receiver of the channel look again. Several wakes before it looks are one.
func wake(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}
