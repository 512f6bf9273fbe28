package anabranch

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"fmt"
	"math"
	"sync"
	"time"
	"unicode/utf8"
)

// Producer writes records to one stream. All of its methods may be called concurrently.
//
//	Put ── by the hash key of the partition key ──┬── lane of shard 0: queue, then one batch in flight
//	                                              └── lane of shard 1: queue, then one batch in flight
//
// Records wait in the lane of their shard until a batch is full, or until the first one has waited for the linger time,
// or until the batch before has been answered, whichever comes last.
type Producer struct {
	client   *Client
	stream   string
	streamID uint64
	limits   producerLimits
	budget   *budget
	// accepting ends when the producer is closed: no Put is accepted any more.
	accepting context.Context
	refuse    context.CancelCauseFunc
	// ctx ends when the producer gives up what it still holds.
	ctx    context.Context
	giveUp context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	isOver bool
	// lanes by shard number. A closed shard keeps its lane until its records are decided or moved.
	lanes map[uint32]*lane
	// closed holds the lanes of shards that are closed in the version closedBy of the catalog.
	closed   []*lane
	closedBy *view
	// order counts the records that were accepted.
	order uint64
	// flushed is the newest record that a Flush does not let wait for a fuller batch.
	flushed uint64
}

// producerLimits are the settings of a producer.
type producerLimits struct {
	records  int
	bytes    int
	linger   time.Duration
	buffer   int
	delivery time.Duration
}

const (
	maxBatchRecords = 65_536
	maxBatchBytes   = 10 << 20
	maxKeyRunes     = 256
	// maxDelivery leaves half a minute of the two minutes in which the cluster knows a batch again: the last attempt
	// needs some of it, and clocks differ.
	maxDelivery = 90 * time.Second
	// recordOverhead is what a waiting record counts besides its data and partition key.
	recordOverhead = 200
)

// ProducerOption changes a setting of [Client.NewProducer].
type ProducerOption func(*producerLimits) error

// WithBatchRecords sets the most records of a batch: 1 to 65,536. Default: 5,000.
func WithBatchRecords(records int) ProducerOption {
	return func(l *producerLimits) error {
		l.records = records
		return between("batch records", records, 1, maxBatchRecords)
	}
}

// WithBatchBytes sets the most bytes of data and partition keys of a batch: 1 to 10 MiB. A larger record is sent alone.
// Default: 1 MiB.
func WithBatchBytes(bytes int) ProducerOption {
	return func(l *producerLimits) error {
		l.bytes = bytes
		return between("batch bytes", bytes, 1, maxBatchBytes)
	}
}

// WithLinger sets how long a record waits for others, to be sent with them: 0 to 10 s. Default: 5 ms. A cluster knows
// 65,536 batches of a shard again, of all producers together. With a shorter linger time and many producers these are
// the batches of less than two minutes, and a batch that is sent again later may be written twice.
func WithLinger(linger time.Duration) ProducerOption {
	return func(l *producerLimits) error {
		l.linger = linger
		return between("linger", linger, 0, 10*time.Second)
	}
}

// WithBufferBytes sets how many bytes may wait in the producer, records in flight included. Each record counts 200
// bytes besides its data and partition key. At least 1 MiB. Default: 32 MiB.
func WithBufferBytes(bytes int) ProducerOption {
	return func(l *producerLimits) error {
		l.buffer = bytes
		return between("buffer bytes", bytes, 1<<20, math.MaxInt)
	}
}

// WithDeliveryTimeout sets how long a record may wait before it is sent first, and again for how long its batch is sent
// again: above 0, at most 90 s. Default: 90 s.
func WithDeliveryTimeout(timeout time.Duration) ProducerOption {
	return func(l *producerLimits) error {
		l.delivery = timeout
		return between("delivery timeout", timeout, time.Millisecond, maxDelivery)
	}
}

func between[T cmp.Ordered](field string, value, least, most T) error {
	if value < least || value > most {
		return invalid(field, "must be %v to %v, is %v", least, most, value)
	}
	return nil
}

// NewProducer makes a producer for a stream.
//
// Errors: [InvalidError] names the option; [ErrStreamNotFound]; an error that wraps that of ctx.
func (c *Client) NewProducer(ctx context.Context, stream string, options ...ProducerOption) (*Producer, error) {
	limits := producerLimits{
		records: 5_000, bytes: 1 << 20, linger: 5 * time.Millisecond, buffer: 32 << 20, delivery: maxDelivery,
	}
	for _, option := range options {
		if err := option(&limits); err != nil {
			return nil, err
		}
	}
	ctx, free := c.bound(ctx)
	defer free()
	found, err := c.newestStream(ctx, stream)
	if err != nil {
		return nil, err
	}
	p := &Producer{
		client: c, stream: stream, streamID: found.id,
		limits: limits, budget: newBudget(limits.buffer), lanes: make(map[uint32]*lane),
	}
	p.ctx, p.giveUp = context.WithCancelCause(c.ctx)
	p.accepting, p.refuse = context.WithCancelCause(p.ctx)
	// Keeps the number of tasks above zero until no lane can begin any more.
	p.tasks.Go(func() {
		<-p.ctx.Done()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.isOver = true
	})
	if err := c.adopt(p.ctx, &p.tasks); err != nil {
		return nil, err
	}
	return p, nil
}

// Result says where a record is.
type Result struct {
	// ShardID names the shard, as in the Kinesis API.
	ShardID string
	// Position of the record in the shard.
	Position Position
	// Arrival is when the record arrived at the leader, by its clock, in whole milliseconds.
	Arrival time.Time
}

// Future is the result of a record, once it is known.
type Future struct {
	done   chan struct{}
	result Result
	err    error

	// The record. Empty once it is decided.
	key      string
	data     []byte
	hash     hashKey
	order    uint64
	accepted time.Time
	claimed  int
}

// Done returns a channel that is closed when the result is known.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait returns the result, or why there is none: see [Producer.Put]. If ctx ends first, it returns the error of ctx,
// and the record is still under way.
func (f *Future) Wait(ctx context.Context) (Result, error) {
	select {
	case <-f.done:
		return f.result, f.err
	default:
	}
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

func (f *Future) bytes() int { return len(f.key) + len(f.data) }

// Put accepts a record: partitionKey has 1 to 256 characters, and data and partition key together are at most as large
// as the stream allows. The caller must not change data until the result is known. Put blocks while the buffer is full.
//
// Errors of Put, after which the record was not accepted: [InvalidError] names the field and the rule; [ErrClosed];
// [ErrStreamNotFound]; the error of ctx.
//
// Endings of the record, by [Future.Wait]:
//   - a [Result]: a majority of the shard's replicas has the record on disk, once;
//   - [ErrNotDelivered]: it was not written. The error also wraps the reason: [ErrUnavailable], [ErrThrottled],
//     [ErrStreamNotFound], [ErrKey], [ErrDenied], [InvalidError] or [ErrClosed];
//   - [ErrUnknownOutcome]: it was written or not, because answers were lost until the delivery timeout.
//
// Records of one partition key are written in the order in which they were accepted. After a record of unknown outcome
// the next ones go on, so it may come after them.
func (p *Producer) Put(ctx context.Context, partitionKey string, data []byte) (*Future, error) {
	if !utf8.ValidString(partitionKey) {
		return nil, invalid("partitionKey", "must be UTF-8")
	}
	if runes := utf8.RuneCountInString(partitionKey); runes < 1 || runes > maxKeyRunes {
		return nil, invalid("partitionKey", "must have 1 to %d characters, has %d", maxKeyRunes, runes)
	}
	found := p.found()
	if found == nil {
		return nil, p.gone()
	}
	f := &Future{done: make(chan struct{}), key: partitionKey, data: data}
	if f.bytes() > found.maxRecordBytes {
		return nil, invalid("data", "must have at most %d bytes together with the partition key, has %d",
			found.maxRecordBytes, f.bytes())
	}
	if found.isSpread {
		rand.Read(f.hash[:])
	} else {
		f.hash = md5.Sum([]byte(partitionKey))
	}
	var err error
	if f.claimed, err = p.budget.acquire(ctx, p.accepting.Done(), f.bytes()+recordOverhead); err != nil {
		return nil, err
	}
	if err = p.accept(f); err != nil {
		p.budget.release(f.claimed)
		return nil, err
	}
	return f, nil
}

// found returns the stream as the catalog has it; nil if it was deleted.
func (p *Producer) found() *stream { return p.client.catalog.view().stream(p.stream, p.streamID) }

func (p *Producer) gone() error { return fmt.Errorf("%w: %s", ErrStreamNotFound, p.stream) }

func (p *Producer) accept(f *Future) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := p.found()
	switch {
	case p.isOver || p.accepting.Err() != nil:
		return ErrClosed
	case found == nil:
		return p.gone()
	}
	p.order++
	f.order, f.accepted = p.order, time.Now()
	l := p.lane(found, f.hash)
	l.queue = append(l.queue, f)
	l.queued += f.bytes()
	// The lane waits for its first record, and then for a full batch or the linger time.
	if len(l.queue) == 1 || l.isFull() {
		l.wake()
	}
	return nil
}

// lane returns the lane of the open shard that the key belongs to. The open shards cover all keys. The caller holds mu.
func (p *Producer) lane(found *stream, key hashKey) *lane {
	to := found.shardFor(key)
	l := p.lanes[to.number]
	if l == nil {
		l = newLane(p, to)
		p.lanes[to.number] = l
		p.tasks.Go(l.run)
	}
	return l
}

// decide gives a record its result.
func (p *Producer) decide(f *Future, result Result, err error) {
	f.result, f.err = result, err
	f.key, f.data = "", nil
	close(f.done)
	p.budget.release(f.claimed)
}

func (p *Producer) fail(records []*Future, err error) {
	for _, f := range records {
		p.decide(f, Result{}, err)
	}
}

// Flush sends what was accepted before the call without waiting for fuller batches, and returns when all of it is
// decided, for better or worse: [Future.Wait] tells. Returns the error of ctx if ctx ends first.
func (p *Producer) Flush(ctx context.Context) error {
	for _, f := range p.hurry() {
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hurry ends the linger time of all accepted records, and returns those that are not decided.
func (p *Producer) hurry() []*Future {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushed = p.order
	var undecided []*Future
	for _, l := range p.lanes {
		undecided = append(append(undecided, l.inFlight...), l.queue...)
		l.wake()
	}
	return undecided
}

// Close refuses new records, delivers the accepted ones, and ends the producer. Returns when all of its goroutines have
// ended. If ctx ends first, the records that are not delivered yet fail, with [ErrClosed] or [ErrUnknownOutcome], and
// Close returns the error of ctx. A second Close does nothing.
func (p *Producer) Close(ctx context.Context) error {
	p.refuse(ErrClosed)
	// No Put is in accept any more, or it will see that the producer refuses.
	err := p.Flush(ctx)
	p.giveUp(ErrClosed)
	p.tasks.Wait()
	return err
}
