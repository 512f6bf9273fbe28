package anabranch

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/logpb"
)

// lane sends the records of one producer to one shard: batches in order, one in flight at a time.
//
// After a split or a merge the lane of the closed shard moves its records into the lanes of the open shards. Order of
// events: its batch in flight is decided, or found to be not written; then the records move, sorted by the order in
// which they were accepted; then the lane ends. The lanes of the children wait for that, so the records of a partition
// key stay in order.
//
// Never: a batch of unknown outcome moves to another shard before the closed one has said that it does not have it.
type lane struct {
	producer *Producer
	shard    *shard
	signal   chan struct{}
	// id and sequence identify the batches of the lane. The cluster knows a batch again by them.
	id       [16]byte
	sequence uint64
	// isClosed: the leader has said so. The catalog will show it soon.
	isClosed bool

	// Guarded by the producer's mutex.
	queue    []*Future
	queued   int // bytes of data and partition keys
	inFlight []*Future
}

func newLane(p *Producer, to *shard) *lane {
	l := &lane{producer: p, shard: to, signal: make(chan struct{}, 1)}
	rand.Read(l.id[:])
	return l
}

func (l *lane) wake() { wake(l.signal) }

func (l *lane) isFull() bool {
	return len(l.queue) >= l.producer.limits.records || l.queued >= l.producer.limits.bytes
}

// add puts records into the queue, which stays in the order in which the records were accepted.
func (l *lane) add(records []*Future) {
	l.queue = append(l.queue, records...)
	slices.SortFunc(l.queue, func(a, b *Future) int { return cmp.Compare(a.order, b.order) })
	for _, f := range records {
		l.queued += f.bytes()
	}
}

// remove takes the oldest records out of the queue.
func (l *lane) remove(count int) []*Future {
	removed := slices.Clone(l.queue[:count])
	l.queue = slices.Delete(l.queue, 0, count)
	for _, f := range removed {
		l.queued -= f.bytes()
	}
	return removed
}

// run is the task of the lane.
func (l *lane) run() {
	p := l.producer
	for {
		p.mu.Lock()
		v := p.client.catalog.view()
		step, wait := l.next(v)
		p.mu.Unlock()
		switch step {
		case laneWaits:
			timer := time.NewTimer(wait)
			select {
			case <-l.signal:
			case <-v.changed:
			case <-timer.C:
			case <-p.ctx.Done():
			}
			timer.Stop()
		case laneSends:
			rest := l.deliver(l.inFlight)
			p.mu.Lock()
			l.inFlight = nil
			l.add(rest)
			p.mu.Unlock()
		case laneEnds:
			return
		}
	}
}

type laneStep int

const (
	// laneWaits for records, for the catalog, or for a time.
	laneWaits laneStep = iota
	// laneSends the batch in flight.
	laneSends
	laneEnds
)

// next decides what the lane does, by this version of the catalog. The caller holds the producer's mutex.
func (l *lane) next(v *view) (laneStep, time.Duration) {
	p := l.producer
	found := v.stream(p.stream, p.streamID)
	switch {
	case p.ctx.Err() != nil:
		return l.end(context.Cause(p.ctx))
	case found == nil:
		return l.end(p.gone())
	case !found.isOpen(l.shard):
		p.move(l, found)
		return laneEnds, 0
	}
	now := time.Now()
	expired := 0
	for expired < len(l.queue) && now.Sub(l.queue[expired].accepted) > p.limits.delivery {
		expired++
	}
	p.fail(l.remove(expired), fmt.Errorf("%w: it has waited for %v", ErrNotDelivered, p.limits.delivery))
	if len(l.queue) == 0 {
		return laneWaits, time.Hour
	}
	oldest := l.queue[0]
	if l.isClosed || p.awaitsParents(l, v, found) {
		return laneWaits, p.limits.delivery - now.Sub(oldest.accepted) + time.Millisecond
	}
	if linger := p.limits.linger - now.Sub(oldest.accepted); linger > 0 && !l.isFull() && oldest.order > p.flushed {
		return laneWaits, linger
	}
	l.inFlight = l.remove(p.limits.batch(l.queue))
	return laneSends, 0
}

// batch returns how many records of the queue make the next batch.
func (limits *producerLimits) batch(queue []*Future) int {
	bytes := 0
	for count, f := range queue {
		bytes += f.bytes()
		if count > 0 && (bytes > limits.bytes || count == limits.records) {
			return count
		}
	}
	return len(queue)
}

// end fails what waits in the lane.
func (l *lane) end(reason error) (laneStep, time.Duration) {
	l.producer.fail(l.remove(len(l.queue)), fmt.Errorf("%w: %w", ErrNotDelivered, reason))
	delete(l.producer.lanes, l.shard.number)
	return laneEnds, 0
}

// isOpen says whether the shard takes records.
func (s *stream) isOpen(one *shard) bool {
	listed := s.shards[one.number]
	return listed != nil && listed.end == nil
}

// move ends the lane of a closed shard: its records go into the lanes of the open shards. The caller holds mu.
func (p *Producer) move(from *lane, found *stream) {
	delete(p.lanes, from.shard.number)
	p.closed = slices.DeleteFunc(p.closed, func(l *lane) bool { return l == from })
	moved := make(map[*lane][]*Future)
	for _, f := range from.remove(len(from.queue)) {
		to := p.lane(found, f.hash)
		moved[to] = append(moved[to], f)
	}
	for to, records := range moved {
		to.add(records)
	}
	for _, l := range p.lanes {
		l.wake()
	}
}

// awaitsParents says whether the lane of a closed shard may still have records of the lane's keys. The caller holds mu.
func (p *Producer) awaitsParents(l *lane, v *view, found *stream) bool {
	if p.closedBy != v {
		p.closed, p.closedBy = nil, v
		for _, l := range p.lanes {
			if !found.isOpen(l.shard) {
				p.closed = append(p.closed, l)
			}
		}
	}
	return slices.ContainsFunc(p.closed, func(closed *lane) bool { return closed.shard.overlaps(l.shard) })
}

// deliver sends a batch until it is decided. Returns the records that the closed shard does not have: they go to other
// shards. All others have got their results.
func (l *lane) deliver(batch []*Future) (rest []*Future) {
	ctx, cancel := context.WithTimeout(l.producer.ctx, l.producer.limits.delivery)
	defer cancel()
	request, err := l.request(batch)
	if err != nil {
		return l.fail(batch, ErrNotDelivered, err)
	}
	// What is known of the batch without an answer: it may be written once an attempt has got none.
	ending := ErrNotDelivered
	for pause := shortestPause; ; pause = min(2*pause, time.Second) {
		runs, err := l.append(ctx, request, &ending)
		refused, _ := err.(*failure)
		switch {
		case err == nil:
			return l.succeed(batch, runs)
		case refused.is(failedThrottled), refused.is(failedFrozen) && l.isOpen():
			if !sleep(ctx, pause) {
				return l.fail(batch, ending, err)
			}
		case refused.is(failedClosed), refused.is(failedFrozen):
			l.isClosed = true
			if ending == ErrUnknownOutcome {
				if batch, err = l.recall(ctx, batch, request.Batch); err != nil {
					return l.fail(batch, ending, err)
				}
			}
			// Brings the version of the catalog that shows the children.
			l.producer.client.newestView(ctx)
			return batch
		default:
			return l.fail(batch, ending, err)
		}
	}
}

// isOpen says whether the shard takes records, by the newest catalog.
func (l *lane) isOpen() bool {
	found := l.producer.found()
	return found != nil && found.isOpen(l.shard)
}

// fail ends the records of a batch that was given up. Returns no records.
func (l *lane) fail(batch []*Future, ending, reason error) []*Future {
	p := l.producer
	if reason == ErrShardNotFound {
		reason = p.gone()
	}
	err := fmt.Errorf("%w: %w", ending, reason)
	p.client.log.Warn("batch given up", "stream", p.stream, "shard", l.shard.id(), "records", len(batch), "reason", err)
	p.fail(batch, err)
	return nil
}

// request encodes a batch under the next identity of the lane.
func (l *lane) request(batch []*Future) (*logpb.AppendRequest, error) {
	l.sequence++
	message := &logpb.RecordBatch{
		Producer: &logpb.Producer{Id: l.id[:], Sequence: l.sequence},
		Records:  make([]*logpb.Record, len(batch)),
	}
	for place, f := range batch {
		message.Records[place] = &logpb.Record{Data: f.data, PartitionKey: []byte(f.key)}
	}
	encoded, err := proto.Marshal(message)
	request := &logpb.AppendRequest{Group: l.shard.group, Batch: encoded}
	if found := l.producer.found(); found != nil && found.isMeasured {
		for _, f := range batch {
			request.HashKeys = append(request.HashKeys, f.hash[:]...)
		}
	}
	return request, err
}

// append sends a batch to the leader of the shard, and again after a lost answer: always under the same identity, so
// that nothing is written twice.
func (l *lane) append(
	ctx context.Context, request *logpb.AppendRequest, ending *error,
) (runs []*logpb.Run, err error) {
	client := l.producer.client
	err = client.search(route{group: l.shard.group}).run(ctx, shardCall{
		asks:   askLeader,
		writes: true,
		send: func(ctx context.Context, to *peerNode, _ bool) *failure {
			node := logpb.NewLogServiceClient(to.calls)
			answer, f := ask(ctx, writePatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.AppendResponse, error) {
					return node.Append(ctx, request, options...)
				})
			if f == nil {
				runs = answer.Runs
			} else if f.kind == failedUnknown {
				*ending = ErrUnknownOutcome
			}
			return f
		},
	})
	return runs, err
}

// recall asks the replicas of the closed shard which records of a batch it has. They get their results. Returns the
// others: the shard will never have them. After an error it returns the whole batch, and nothing is known.
func (l *lane) recall(ctx context.Context, batch []*Future, encoded []byte) (rest []*Future, err error) {
	client := l.producer.client
	request := &logpb.RecallRequest{Group: l.shard.group, Batch: encoded}
	var known []*logpb.RecalledRecord
	err = client.search(route{group: l.shard.group}).run(ctx, shardCall{
		asks: askAny,
		// Every failure may be of this one replica.
		isFinal: func(*failure) bool { return false },
		send: func(ctx context.Context, to *peerNode, _ bool) *failure {
			node := logpb.NewLogServiceClient(to.calls)
			answer, f := ask(ctx, callPatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.RecallResponse, error) {
					return node.Recall(ctx, request, options...)
				})
			known = answer.GetRecords()
			return f
		},
	})
	if err != nil {
		return batch, err
	}
	stored := make(map[*Future]bool, len(known))
	for _, record := range known {
		if int(record.Place) < len(batch) && !stored[batch[record.Place]] {
			stored[batch[record.Place]] = true
			l.producer.decide(batch[record.Place], l.result(record.Run, 0), nil)
		}
	}
	return slices.DeleteFunc(slices.Clone(batch), func(f *Future) bool { return stored[f] }), nil
}

// succeed gives the records of an appended batch their results. Returns no records.
func (l *lane) succeed(batch []*Future, runs []*logpb.Run) []*Future {
	for _, run := range runs {
		count := min(int(run.Records), len(batch))
		for place, f := range batch[:count] {
			l.producer.decide(f, l.result(run, uint32(place)), nil)
		}
		batch = batch[count:]
	}
	l.producer.fail(batch, fmt.Errorf("%w: the answer has no position of the record", ErrUnknownOutcome))
	return nil
}

// result is that of the record at a place of a run.
func (l *lane) result(run *logpb.Run, place uint32) Result {
	first := positionOf(run.GetFirst())
	return Result{
		ShardID:  l.shard.id(),
		Position: Position{LogIndex: first.LogIndex, Offset: first.Offset + place},
		Arrival:  time.UnixMilli(int64(run.GetArrivalMillis())),
	}
}
