package anabranch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anabranch/clients/go/internal/pb/logpb"
)

func (c *fakeCluster) producer(options ...ProducerOption) *Producer {
	c.t.Helper()
	p, err := c.connect().NewProducer(within(c.t, 5*time.Second), streamName, options...)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func put(t *testing.T, p *Producer, key, data string) *Future {
	t.Helper()
	f, err := p.Put(within(t, 10*time.Second), key, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func putAll(t *testing.T, p *Producer, key string, data ...string) {
	t.Helper()
	for _, one := range data {
		put(t, p, key, one)
	}
}

func flush(t *testing.T, p *Producer) {
	t.Helper()
	if err := p.Flush(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}

func numbers(from, to int) (texts []string) {
	for n := from; n < to; n++ {
		texts = append(texts, fmt.Sprintf("%03d", n))
	}
	return texts
}

func wantEqual[T any](t *testing.T, got, want []T) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestRecordsAreWrittenInOrderAndTheirPositionsAreTold(t *testing.T) {
	c := newFakeCluster(t, 3)
	p := c.producer(WithBatchRecords(3))
	var futures []*Future
	for _, data := range numbers(0, 20) {
		futures = append(futures, put(t, p, "key", data))
	}
	flush(t, p)
	wantEqual(t, c.written(1), numbers(0, 20))
	place := 0
	for _, entry := range c.shards[1].records {
		if entry.Records > 3 {
			t.Errorf("a batch has %d records", entry.Records)
		}
		for offset := range entry.Records {
			result, err := futures[place].Wait(t.Context())
			want := Result{"shardId-000000000000", Position{entry.LogIndex, offset}, time.UnixMilli(1000)}
			if err != nil || result != want {
				t.Errorf("record %d: %v, %v, want %v", place, result, err, want)
			}
			place++
		}
	}
}

func TestABatchIsBoundedByBytes(t *testing.T) {
	limits := producerLimits{records: 100, bytes: 10}
	sizes := func(sizes ...int) (queue []*Future) {
		for _, size := range sizes {
			queue = append(queue, &Future{data: make([]byte, size)})
		}
		return queue
	}
	for want, queue := range map[int][]*Future{3: sizes(3, 3, 4, 1), 1: sizes(20, 1), 2: sizes(1, 9, 1)} {
		if got := limits.batch(queue); got != want {
			t.Errorf("got %d records, want %d", got, want)
		}
	}
	if got := limits.batch(sizes(make([]int, 101)...)); got != 100 {
		t.Errorf("got %d records, want 100", got)
	}
}

func TestALostAnswerWritesNothingTwice(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.onAppend = func(s *fakeShard, _ *logpb.RecordBatch) fault {
		if s.appends%2 == 1 {
			return loseAnswer
		}
		return none
	}
	p := c.producer(WithBatchRecords(2))
	putAll(t, p, "key", numbers(0, 10)...)
	flush(t, p)
	wantEqual(t, c.written(1), numbers(0, 10))
}

func TestTheLeaderIsFoundByHintsAndAfterItsLoss(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.shards[1].leader = 3
	p := c.producer()
	putAll(t, p, "key", numbers(0, 5)...)
	flush(t, p)
	c.stop(3)
	first := put(t, p, "key", "005")
	time.Sleep(50 * time.Millisecond)
	c.change(func() { c.shards[1].leader = 2 })
	if _, err := first.Wait(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, c.written(1), numbers(0, 6))
	// For a while nobody knows a leader.
	c.change(func() { c.shards[1].leader = 0 })
	second := put(t, p, "key", "006")
	time.Sleep(50 * time.Millisecond)
	c.change(func() { c.shards[1].leader = 1 })
	if _, err := second.Wait(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, c.written(1), numbers(0, 7))
}

func TestABatchOfUnknownOutcomeThatTheClosedShardHasIsNotWrittenAgain(t *testing.T) {
	c := newFakeCluster(t, 3)
	c.onAppend = func(s *fakeShard, _ *logpb.RecordBatch) fault {
		switch {
		case s.group != 1:
			return none
		case s.appends == 1:
			return loseAnswer
		default:
			s.isClosed = true
			return closed
		}
	}
	p := c.producer()
	before := put(t, p, "key", "000")
	c.until("the shard is closed", func() bool { return c.shards[1].isClosed })
	after := put(t, p, "key", "001")
	c.showSplit()
	if result, err := before.Wait(within(t, 10*time.Second)); err != nil || result.ShardID != shardID(0) {
		t.Fatal(result, err)
	}
	if result, err := after.Wait(within(t, 10*time.Second)); err != nil || result.ShardID == shardID(0) {
		t.Fatal(result, err)
	}
	wantEqual(t, slices.Concat(c.written(1), c.written(2), c.written(3)), numbers(0, 2))
}

func TestRecordsFollowASplitInOrder(t *testing.T) {
	c := newFakeCluster(t, 3)
	p := c.producer(WithBatchRecords(7), WithLinger(time.Millisecond))
	low, high := keyOf(0x00, 0x7f), keyOf(0x80, 0xff)
	for n, data := range numbers(0, 600) {
		putAll(t, p, low, "low "+data)
		putAll(t, p, high, "high "+data)
		switch n {
		case 200:
			c.closeShard()
		case 400:
			c.showSplit()
		}
	}
	flush(t, p)
	parent := c.written(1)
	of := func(group uint64, kind string) (texts []string) {
		for _, data := range slices.Concat(parent, c.written(group)) {
			if number, isOf := strings.CutPrefix(data, kind+" "); isOf {
				texts = append(texts, number)
			}
		}
		return texts
	}
	wantEqual(t, of(2, "low"), numbers(0, 600))
	wantEqual(t, of(3, "high"), numbers(0, 600))
	if p.mu.Lock(); len(p.lanes) != 2 {
		t.Errorf("%d lanes", len(p.lanes))
	}
	p.mu.Unlock()
}

func TestAFrozenShardIsWaitedForAndAFullOneIsAskedLessOften(t *testing.T) {
	for _, refused := range []fault{frozen, throttled} {
		c := newFakeCluster(t, 1)
		until := time.Now().Add(300 * time.Millisecond)
		c.onAppend = func(*fakeShard, *logpb.RecordBatch) fault {
			if time.Now().Before(until) {
				return refused
			}
			return none
		}
		p := c.producer()
		putAll(t, p, "key", numbers(0, 5)...)
		flush(t, p)
		wantEqual(t, c.written(1), numbers(0, 5))
		if c.shards[1].appends > 15 {
			t.Errorf("fault %d: %d attempts", refused, c.shards[1].appends)
		}
	}
}

func TestTheErrorSaysWhetherARecordMayBeWritten(t *testing.T) {
	cases := map[fault][]error{
		throttled:  {ErrNotDelivered, ErrThrottled},
		loseAnswer: {ErrUnknownOutcome, ErrUnavailable, context.DeadlineExceeded},
	}
	for ending, wanted := range cases {
		c := newFakeCluster(t, 1)
		c.onAppend = func(*fakeShard, *logpb.RecordBatch) fault { return ending }
		// The last pause of a throttled producer is from 1.0 to 2.0 s: no attempt is cut off by the timeout.
		p := c.producer(WithDeliveryTimeout(1500 * time.Millisecond))
		_, err := put(t, p, "key", "data").Wait(within(t, 10*time.Second))
		for _, want := range wanted {
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
	c := newFakeCluster(t, 1)
	p := c.producer(WithDeliveryTimeout(500 * time.Millisecond))
	c.stop(1)
	_, err := put(t, p, "key", "data").Wait(within(t, 10*time.Second))
	if !errors.Is(err, ErrNotDelivered) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("no connection could be made: %v", err)
	}
}

func TestPutWaitsWhileTheBufferIsFull(t *testing.T) {
	c := newFakeCluster(t, 1)
	full := true // guarded by the cluster
	c.onAppend = func(*fakeShard, *logpb.RecordBatch) fault {
		if full {
			return throttled
		}
		return none
	}
	p := c.producer(WithBufferBytes(1 << 20))
	data := bytes.Repeat([]byte("d"), 400<<10)
	for range 2 {
		putAll(t, p, "key", string(data))
	}
	_, err := p.Put(within(t, 50*time.Millisecond), "key", data)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	blocked := make(chan error)
	go func() {
		_, err := p.Put(t.Context(), "key", data)
		blocked <- err
	}()
	c.change(func() { full = false })
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	flush(t, p)
	if got := len(c.written(1)); got != 3 {
		t.Fatalf("%d records", got)
	}
}

func TestTheErrorNamesTheFieldAndTheRule(t *testing.T) {
	c := newFakeCluster(t, 1)
	client := c.connect()
	p := c.producer()
	_, noKey := p.Put(t.Context(), "", nil)
	_, longKey := p.Put(t.Context(), strings.Repeat("é", 257), nil)
	_, badKey := p.Put(t.Context(), "\xff", nil)
	_, large := p.Put(t.Context(), "key", make([]byte, 1<<20))
	_, option := client.NewProducer(t.Context(), streamName, WithDeliveryTimeout(2*time.Minute))
	_, shard := client.Tail(t.Context(), streamName, TrimHorizon(), OfShard("shardId-1"))
	_, start := client.Tail(t.Context(), streamName, AtPosition(Position{}))
	_, member := client.JoinGroup(t.Context(), streamName, "group", WithMember("a b"))
	_, group := client.JoinGroup(t.Context(), streamName, "")
	c.change(func() { c.members.coordinator = 1 })
	_, refused := client.JoinGroup(t.Context(), streamName, "group", WithDescription("refuse"))
	for field, err := range map[string]error{
		"partitionKey: must have 1 to 256 characters, has 0":                                 noKey,
		"partitionKey: must have 1 to 256 characters, has 257":                               longKey,
		"partitionKey: must be UTF-8":                                                        badKey,
		"data: must have at most 1048576 bytes together with the partition key, has 1048579": large,
		"delivery timeout: must be 1ms to 1m30s, is 2m0s":                                    option,
		`shard: must be "shardId-" and twelve digits`:                                        shard,
		"start: a position is of one shard: use OfShard":                                     start,
		"member: must have 1 to 64 letters, digits, '.', '_' or '-'":                         member,
		"group: must have 1 to 128 letters, digits, '.', '_' or '-'":                         group,
		`description: must not be "refuse"`:                                                  refused,
	} {
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Error() != field {
			t.Errorf("got %v, want %s", err, field)
		}
	}
	for _, key := range []string{"k", strings.Repeat("é", 256)} {
		putAll(t, p, key, "")
	}
	if _, err := client.NewProducer(t.Context(), "other"); !errors.Is(err, ErrStreamNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestCloseDeliversOrSaysWhatItHasGivenUp(t *testing.T) {
	c := newFakeCluster(t, 1)
	isFull := false // guarded by the cluster
	c.onAppend = func(*fakeShard, *logpb.RecordBatch) fault {
		if isFull {
			return throttled
		}
		return none
	}
	p := c.producer(WithLinger(10 * time.Second))
	delivered := put(t, p, "key", "000")
	if err := p.Close(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := delivered.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Put(t.Context(), "key", nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
	c.change(func() { isFull = true })
	p = c.producer()
	given := put(t, p, "key", "001")
	// The pause after the tenth attempt is half a second: no attempt is cut off.
	c.until("ten attempts", func() bool { return c.shards[1].appends == 11 })
	if err := p.Close(within(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := given.Wait(t.Context()); !errors.Is(err, ErrNotDelivered) {
		t.Fatalf("got %v", err)
	}
}

func TestTheClosedClientEndsEverything(t *testing.T) {
	c := newFakeCluster(t, 1)
	c.onAppend = func(*fakeShard, *logpb.RecordBatch) fault { return throttled }
	client := c.connect()
	p, err := client.NewProducer(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Tail(t.Context(), streamName, TrimHorizon())
	if err != nil {
		t.Fatal(err)
	}
	g := c.join(client)
	future := put(t, p, "key", "data")
	client.Close()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, task := range []string{".(*lane).", ".(*Reader).", ".(*Group).", ".(*Client).", ".(*feed)."} {
		if bytes.Contains(stacks, []byte("anabranch/clients/go"+task)) {
			t.Errorf("a task of %s goes on:\n%s", task, stacks)
		}
	}
	if _, err := g.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := future.Wait(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrNotDelivered) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := p.Put(t.Context(), "key", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := client.Tail(t.Context(), streamName, TrimHorizon()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestTheBudgetIsGrantedInOrder(t *testing.T) {
	b := newBudget(10)
	first, _ := b.acquire(t.Context(), nil, 8)
	var order []int
	var mu sync.Mutex
	var claims sync.WaitGroup
	for n, bytes := range []int{20, 1, 1} {
		claims.Go(func() {
			claimed, _ := b.acquire(t.Context(), nil, bytes)
			mu.Lock()
			order = append(order, n)
			mu.Unlock()
			b.release(claimed)
		})
		for len(waiting(b)) != n+1 {
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.acquire(ctx, nil, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	b.release(first)
	claims.Wait()
	if order[0] != 0 || b.free != 10 || len(b.waiting) != 0 {
		t.Fatalf("order %v, free %d", order, b.free)
	}
}

func waiting(b *budget) []*claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}
