package anabranch

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"anabranch/clients/go/internal/pb/consumerpb"
	"anabranch/clients/go/internal/pb/logpb"
)

// Group is the membership of this program in a consumer group: the members read one stream together, each shard by one
// member at a time. The cluster divides the shards among the members, and stores how far each shard is processed.
//
//	for {
//		batch, err := group.Next(ctx)
//		if err != nil {
//			return err
//		}
//		process(batch.Records)
//		if err := batch.Checkpoint(ctx); err != nil && !errors.Is(err, anabranch.ErrOwnershipLost) {
//			return err
//		}
//	}
//
// Delivery is at least once. The next owner of a shard begins after the last checkpoint, so records that were processed
// after it come again.
//
// When another member is to get a shard, no more batches of it come. The shard is given back once the application is
// finished with the last batch of it, which is when it calls Next again. If that takes longer than the session time,
// the shard is taken away.
//
// When a shard was split or merged, its children come after all of its batches have been checkpointed.
type Group struct {
	client   *Client
	ref      *consumerpb.GroupRef
	streamID uint64
	join     *consumerpb.JoinRequest
	member   string
	// session is the session time, as the cluster knows it. Only the task run changes it.
	session time.Duration
	ctx     context.Context
	// stop ends the group with the error that Next returns.
	stop  context.CancelCauseFunc
	tasks sync.WaitGroup

	mu sync.Mutex
	// coordinator is the destination that answered last.
	coordinator destination
	// owned are the shards by number.
	owned map[uint32]*ownership
	// ready are shards that have a batch for Next, the one that waits longest first.
	ready []*ownership
	// inHand is the shard of the batch that Next returned last.
	inHand  *ownership
	hasLeft bool
	// hasReady and hasChange wake Next, and the task that gives shards back.
	hasReady, hasChange chan struct{}
}

// ownership is one ownership of one shard. Its fields are guarded by the group's mutex.
type ownership struct {
	group *Group
	shard *consumerpb.OwnedShard
	// isLost: the shard belongs to the member no more. This is final.
	isLost bool
	// isGivenBack: the cluster knows that the member is finished with the shard.
	isGivenBack bool
	// hasBegun: the position of the first record is known, and so are the next three positions. The application has got
	// the records before seen, has asked to store the checkpoint wanted, and the cluster has stored the checkpoint stored.
	hasBegun             bool
	seen, wanted, stored Position
	// atEnd: the application has got all records of the closed shard.
	atEnd bool
	// feed is what the task of the shard reads; nil while there is no task. pause ends the task.
	feed  *feed
	pause context.CancelFunc
	// batch waits for Next. taken wakes the task when Next has taken it.
	batch *Batch
	taken chan struct{}
	// storing is held while a checkpoint is under way: they must arrive in order.
	storing chan struct{}
}

// Batch is neighbouring records of one shard, at least one.
type Batch struct {
	// ShardID names the shard, as in the Kinesis API.
	ShardID string
	// Epoch is the number of this ownership. It rises with each owner of the shard. A system that keeps the highest epoch
	// of each shard, and refuses lower ones, is safe from former owners.
	Epoch uint64
	// Records in their order. At most 10,000 and about 1 MiB, or one record.
	Records []Record

	owner *ownership
	next  Position
}

// GroupOption changes a setting of [Client.JoinGroup].
type GroupOption func(*consumerpb.JoinRequest) error

// WithMember sets the id of the member: 1 to 64 letters, digits, '.', '_' or '-'. No other running program may have it.
// A program that comes back under its id within its session time keeps its shards. Default: a random id.
func WithMember(id string) GroupOption {
	return func(join *consumerpb.JoinRequest) error {
		join.Member = id
		return isName("member", id, 64)
	}
}

// WithDescription sets a text for operators, for example host and process: at most 128 bytes.
func WithDescription(text string) GroupOption {
	return func(join *consumerpb.JoinRequest) error {
		join.Description = text
		if len(text) > 128 {
			return invalid("description", "must have at most 128 bytes, has %d", len(text))
		}
		return nil
	}
}

// WithSession sets how long the member may be silent before its shards go to others: 3 s to 300 s. It is also how long
// the application may take to finish a batch of a shard that another member is to get. Default: 10 s.
func WithSession(session time.Duration) GroupOption {
	return func(join *consumerpb.JoinRequest) error {
		join.SessionMillis = uint32(session.Milliseconds())
		return between("session", session, 3*time.Second, 300*time.Second)
	}
}

// WithStart sets where a new group begins to read: [TrimHorizon], [Latest] or [AtTime]. It does not change a group that
// exists. Default: TrimHorizon.
func WithStart(start Start) GroupOption {
	return func(join *consumerpb.JoinRequest) error {
		switch start.kind {
		case startTrimHorizon:
			join.Start = &consumerpb.JoinRequest_TrimHorizon{TrimHorizon: &logpb.Empty{}}
		case startLatest:
			join.Start = &consumerpb.JoinRequest_Latest{Latest: &logpb.Empty{}}
		case startAtTime:
			join.Start = &consumerpb.JoinRequest_AtMillis{AtMillis: start.millis}
		default:
			return invalid("start", "a position is of one shard")
		}
		return nil
	}
}

var nameCharacters = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

func isName(field, name string, most int) error {
	if len(name) > most || !nameCharacters.MatchString(name) {
		return invalid(field, "must have 1 to %d letters, digits, '.', '_' or '-'", most)
	}
	return nil
}

// JoinGroup makes this program a member of a consumer group of the stream, and makes the group if there is none. A name
// of a group has 1 to 128 letters, digits, '.', '_' or '-'. ctx is for the beginning only: [Group.Close] ends the
// membership. If the cluster removes the member, because it was silent for its session time, it joins again by itself.
//
// Errors: [InvalidError]; [ErrStreamNotFound]; [ErrThrottled] if the group has too many members, or the cluster cannot
// store more; [ErrDenied]; [ErrUnsupported]; an error that wraps that of ctx.
func (c *Client) JoinGroup(ctx context.Context, stream, name string, options ...GroupOption) (*Group, error) {
	ref := &consumerpb.GroupRef{Stream: stream, Group: name}
	join := &consumerpb.JoinRequest{Group: ref, Member: rand.Text()}
	if err := isName("group", name, 128); err != nil {
		return nil, err
	}
	for _, option := range options {
		if err := option(join); err != nil {
			return nil, err
		}
	}
	ctx, free := c.bound(ctx)
	defer free()
	found, err := c.newestStream(ctx, stream)
	if err != nil {
		return nil, err
	}
	g := &Group{
		client: c, ref: ref, streamID: found.id, join: join, member: join.Member,
		owned:    make(map[uint32]*ownership),
		hasReady: make(chan struct{}, 1), hasChange: make(chan struct{}, 1),
	}
	g.ctx, g.stop = context.WithCancelCause(c.ctx)
	if err := g.enter(ctx); err != nil {
		g.stop(err)
		return nil, err
	}
	g.tasks.Go(g.run)
	g.tasks.Go(g.giveBack)
	if err := c.adopt(g.ctx, &g.tasks); err != nil {
		return nil, err
	}
	return g, nil
}

// Next returns the next batch, of whichever shard has one, and waits for it if there is none yet. The call also says
// that the application is finished with the batch before. It must not be called concurrently.
//
// Errors: that of ctx, after which the group goes on; [ErrStreamNotFound] if the stream was deleted; [ErrKey] if the
// records cannot be decrypted; [ErrDenied]; [ErrUnsupported]; [ErrClosed]. After these the group is over.
func (g *Group) Next(ctx context.Context) (*Batch, error) {
	g.mu.Lock()
	if g.inHand != nil {
		g.inHand = nil
		wake(g.hasChange)
	}
	g.mu.Unlock()
	for {
		if err := context.Cause(g.ctx); err != nil {
			return nil, err
		}
		if batch := g.takeReady(); batch != nil {
			return batch, nil
		}
		select {
		case <-g.hasReady:
		case <-g.ctx.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *Group) takeReady() *Batch {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ready) == 0 {
		return nil
	}
	o := g.ready[0]
	g.ready = g.ready[1:]
	batch := o.batch
	o.batch, o.seen, g.inHand = nil, batch.next, o
	wake(o.taken)
	return batch
}

// Checkpoint stores that all records of the shard up to the end of the batch are processed: the next owner of the shard
// begins after them. A batch before one that is checkpointed already changes nothing. Returns once it is stored.
//
// Errors: [ErrOwnershipLost]; [ErrThrottled] if the cluster cannot store more now; [ErrClosed]; an error that wraps
// that of ctx, after which the checkpoint may be stored or not. After all but the first, Checkpoint may be called
// again.
func (b *Batch) Checkpoint(ctx context.Context) error {
	g, o := b.owner.group, b.owner
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })()
	select {
	case o.storing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() {
		<-o.storing
		wake(g.hasChange)
	}()
	g.mu.Lock()
	if o.wanted.Compare(b.next) < 0 {
		o.wanted = b.next
	}
	isLost, isStored := o.isLost || o.isGivenBack, o.stored.Compare(b.next) >= 0
	checkpoint := &consumerpb.ShardCheckpoint{Shard: o.shard.Shard, Epoch: o.shard.Epoch, Next: b.next.message()}
	g.mu.Unlock()
	switch {
	case isStored:
		return nil
	case isLost:
		return fmt.Errorf("%w: %s", ErrOwnershipLost, b.ShardID)
	default:
		return g.store(ctx, []*ownership{o}, []*consumerpb.ShardCheckpoint{checkpoint})
	}
}

// store sends checkpoints and notes what the cluster says. Returns ErrOwnershipLost if one of them was refused.
func (g *Group) store(ctx context.Context, owners []*ownership, checkpoints []*consumerpb.ShardCheckpoint) error {
	request := &consumerpb.CheckpointRequest{Group: g.ref, Member: g.member, Shards: checkpoints}
	var refused []uint32
	err := g.call(ctx, func(ctx context.Context, node consumerpb.ConsumerGroupServiceClient) *failure {
		answer, f := ask(ctx, coordinatorPatience,
			func(ctx context.Context, options ...grpc.CallOption) (*consumerpb.CheckpointResponse, error) {
				return node.Checkpoint(ctx, request, options...)
			})
		refused = answer.GetRefused()
		return f
	})
	f, _ := err.(*failure)
	if err != nil && !f.is(failedNotFound) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for place, o := range owners {
		checkpoint := checkpoints[place]
		switch {
		case f != nil || slices.Contains(refused, checkpoint.Shard):
			// The member was removed, or the shard was taken from it.
			g.lose(o)
			err = fmt.Errorf("%w: %s", ErrOwnershipLost, o.shard.ShardId)
		case checkpoint.Next != nil:
			o.stored = positionOf(checkpoint.Next)
		}
		o.isGivenBack = o.isGivenBack || checkpoint.Release
	}
	return err
}

// Close leaves the group: its shards go to other members at once. Checkpoints that could not be stored before are sent
// again, of at most 100 shards. Returns when all goroutines have ended. If ctx ends before the cluster has answered,
// Close returns an error that wraps that of ctx, and the shards go to others after the session time. A second Close
// does nothing.
func (g *Group) Close(ctx context.Context) error {
	g.stop(ErrClosed)
	g.tasks.Wait()
	g.mu.Lock()
	hasLeft := g.hasLeft
	g.hasLeft = true
	request := &consumerpb.LeaveRequest{Group: g.ref, Member: g.member}
	for _, o := range g.owned {
		if o.stored.Compare(o.wanted) < 0 && !o.isLost && !o.isGivenBack && len(request.Shards) < callShards {
			request.Shards = append(request.Shards, &consumerpb.ShardCheckpoint{
				Shard: o.shard.Shard, Epoch: o.shard.Epoch, Next: o.wanted.message(),
			})
		}
	}
	g.mu.Unlock()
	if hasLeft {
		return nil
	}
	ctx, free := g.client.bound(ctx)
	defer free()
	err := g.call(ctx, func(ctx context.Context, node consumerpb.ConsumerGroupServiceClient) *failure {
		_, f := ask(ctx, coordinatorPatience,
			func(ctx context.Context, options ...grpc.CallOption) (*consumerpb.LeaveResponse, error) {
				return node.Leave(ctx, request, options...)
			})
		return f
	})
	if gone, _ := err.(*failure); gone.is(failedNotFound) {
		return nil // with its group or stream
	}
	return err
}
