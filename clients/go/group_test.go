package anabranch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"anabranch/clients/go/internal/pb/consumerpb"
	"anabranch/clients/go/internal/pb/logpb"
)

// join makes the client a member of a group that node 2 coordinates, or node 1 if there is no other.
func (c *fakeCluster) join(client *Client) *Group {
	c.t.Helper()
	c.change(func() { c.members.coordinator = min(2, uint64(len(c.servers))) })
	g, err := client.JoinGroup(within(c.t, 5*time.Second), streamName, "readers", WithSession(3*time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { g.Close(context.Background()) })
	return g
}

// own says what the member owns from now on.
func (c *fakeCluster) own(shards ...*consumerpb.OwnedShard) {
	c.change(func() { c.members.shards = shards })
}

// owned is shard 0, of group 1.
func owned(epoch uint64, change ...func(*consumerpb.OwnedShard)) *consumerpb.OwnedShard {
	o := &consumerpb.OwnedShard{ShardId: shardID(0), Group: 1, Epoch: epoch}
	for _, change := range change {
		change(o)
	}
	return o
}

func leaving(o *consumerpb.OwnedShard) { o.Leaving = true }

func closedAt(index uint64) func(*consumerpb.OwnedShard) {
	return func(o *consumerpb.OwnedShard) { o.End = &logpb.Position{LogIndex: index} }
}

// entries writes records to shard 0, each in an entry of its own, from log index 3 on.
func (c *fakeCluster) entries(data ...string) {
	p := c.producer(WithBatchRecords(1))
	putAll(c.t, p, "key", data...)
	flush(c.t, p)
}

// said waits until the member has said this, and nothing else since the last call.
func (c *fakeCluster) said(said ...string) {
	c.t.Helper()
	c.until("the member says something", func() bool { return len(c.members.said) >= len(said) })
	c.mu.Lock()
	defer c.mu.Unlock()
	wantEqual(c.t, c.members.said, said)
	c.members.said = nil
}

func nextBatch(t *testing.T, g *Group) *Batch {
	t.Helper()
	batch, err := g.Next(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func checkpoint(t *testing.T, batch *Batch) {
	t.Helper()
	if err := batch.Checkpoint(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
}

func data(batch *Batch) (data []string) {
	for _, record := range batch.Records {
		data = append(data, string(record.Data))
	}
	return data
}

func TestAMemberReadsItsShardAndStoresCheckpointsInOrder(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 4)...)
	g := c.join(c.connect())
	c.own(owned(1))
	first, second := nextBatch(t, g), nextBatch(t, g)
	wantEqual(t, slices.Concat(data(first), data(second)), numbers(0, 4))
	checkpoint(t, second)
	checkpoint(t, first)
	c.said("shard 0 epoch 1 next 6.1")
	if err := g.Close(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	c.said("leave")
	if _, err := g.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

func TestAMemberBeginsAtTheCheckpoint(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 4)...)
	g := c.join(c.connect())
	c.own(owned(1, func(o *consumerpb.OwnedShard) { o.Next = &logpb.Position{LogIndex: 5} }))
	wantEqual(t, data(nextBatch(t, g)), numbers(2, 4))
}

func TestALeavingShardIsGivenBackWhenItsLastBatchIsFinished(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 6)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	c.own(owned(1, leaving))
	checkpoint(t, batch)
	c.said("shard 0 epoch 1 next 4.1")
	if _, err := g.Next(within(t, 200*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	c.said("shard 0 epoch 1 release")
	if err := batch.Checkpoint(t.Context()); err != nil {
		t.Fatalf("the checkpoint is stored already: %v", err)
	}
	c.own()
	c.own(owned(3, func(o *consumerpb.OwnedShard) { o.Next = &logpb.Position{LogIndex: 4, Offset: 1} }))
	wantEqual(t, data(nextBatch(t, g)), numbers(2, 4))
}

func TestAShardThatIsNotToLeaveAfterAllIsReadOn(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 6)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	// The batch in hand keeps the shard from being given back.
	c.own(owned(1, leaving))
	isRead := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.owned[0].feed != nil
	}
	c.until("the shard is read no more", func() bool { return !isRead() })
	c.own(owned(1))
	c.until("the shard is read again", isRead)
	checkpoint(t, batch)
	wantEqual(t, data(nextBatch(t, g)), numbers(2, 4))
	wantEqual(t, data(nextBatch(t, g)), numbers(4, 6))
}

func TestTheEndOfAShardIsStoredOnceEverythingBeforeIsCheckpointed(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 3)...)
	g := c.join(c.connect())
	c.closeShard()
	c.own(owned(1, closedAt(6)))
	first, second := nextBatch(t, g), nextBatch(t, g)
	checkpoint(t, first)
	c.said("shard 0 epoch 1 next 4.1")
	checkpoint(t, second)
	c.said("shard 0 epoch 1 next 5.1", "shard 0 epoch 1 next 6.0")
	// Nothing is left to process: the end is stored at once.
	c.own(owned(2, closedAt(6), func(o *consumerpb.OwnedShard) { o.Next = &logpb.Position{LogIndex: 5, Offset: 1} }))
	c.said("shard 0 epoch 2 next 6.0")
}

func TestABatchOfALostShardRefusesItsCheckpoint(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 4)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	// Another owner has had it meanwhile.
	c.own(owned(3))
	again := nextBatch(t, g)
	for len(data(again)) > 0 && again.owner == batch.owner {
		again = nextBatch(t, g)
	}
	if err := batch.Checkpoint(t.Context()); !errors.Is(err, ErrOwnershipLost) {
		t.Fatalf("got %v", err)
	}
	wantEqual(t, data(again), numbers(0, 2))
	checkpoint(t, again)
	c.said("shard 0 epoch 3 next 4.1")
	// The coordinator knows of the loss before the member does.
	c.mu.Lock()
	c.members.shards = []*consumerpb.OwnedShard{owned(4)}
	c.mu.Unlock()
	if err := nextBatch(t, g).Checkpoint(t.Context()); !errors.Is(err, ErrOwnershipLost) {
		t.Fatalf("got %v", err)
	}
}

func TestARemovedMemberJoinsAgain(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 2)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	c.change(func() { c.members.isMember, c.members.shards = false, nil })
	c.until("it joins again", func() bool { return c.members.joins == 2 })
	if err := batch.Checkpoint(t.Context()); !errors.Is(err, ErrOwnershipLost) {
		t.Fatalf("got %v", err)
	}
	c.own(owned(2))
	wantEqual(t, data(nextBatch(t, g)), numbers(0, 2))
}

func TestTheCoordinatorIsFoundAfterItsMoveAndAfterItsLoss(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 6)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	c.change(func() { c.members.coordinator = 3 })
	checkpoint(t, batch)
	c.stop(3)
	batch = nextBatch(t, g)
	c.change(func() { c.members.coordinator = 0 })
	time.AfterFunc(300*time.Millisecond, func() { c.change(func() { c.members.coordinator = 1 }) })
	checkpoint(t, batch)
	c.said("shard 0 epoch 1 next 4.1", "shard 0 epoch 1 next 6.1")
}

func TestCloseSendsCheckpointsThatCouldNotBeStored(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.entries(numbers(0, 2)...)
	g := c.join(c.connect())
	c.own(owned(1))
	batch := nextBatch(t, g)
	c.change(func() { c.members.coordinator = 0 })
	err := batch.Checkpoint(within(t, 300*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	c.change(func() { c.members.coordinator = 1 })
	if err := g.Close(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	c.said("shard 0 epoch 1 next 4.1", "leave")
}
