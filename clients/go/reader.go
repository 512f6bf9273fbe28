package anabranch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Reader reads a whole stream, or one shard of it: each record once, and the records of a partition key in the order in
// which they were acknowledged. After a split or a merge it reads the new shards once it has read their parents to the
// end. It goes on at other replicas when nodes fail.
//
// It reads ahead: of each shard one page in memory, and about one more on its way. A page has at most 10,000 records,
// and about 1 MiB or one record. So a slow caller slows the reading down.
type Reader struct {
	client   *Client
	stream   string
	streamID uint64
	// only is the shard that is read alone; nil for all.
	only *uint32
	// later is where the children of the first shards begin.
	later Start
	ctx   context.Context
	// stop ends the reader with the error that Next returns.
	stop  context.CancelCauseFunc
	tasks sync.WaitGroup
	pages chan page
	// current is what Next has not returned yet of a page.
	current []Record

	mu      sync.Mutex
	lineage lineage
	feeds   map[uint32]*feed
}

// TailOption changes a setting of [Client.Tail].
type TailOption func(*Reader) error

// OfShard reads one shard alone. [Reader.Next] returns io.EOF at its end, once the shard is split or merged.
func OfShard(id string) TailOption {
	return func(r *Reader) error {
		digits, found := strings.CutPrefix(id, "shardId-")
		number, err := strconv.ParseUint(digits, 10, 32)
		if !found || err != nil || shardID(uint32(number)) != id {
			return invalid("shard", `must be "shardId-" and twelve digits`)
		}
		only := uint32(number)
		r.only = &only
		return nil
	}
}

// Tail begins to read a stream at start. Returns once the reader knows its position in each shard that can be read, so
// every record that is put after that is read. ctx is for the beginning only: [Reader.Close] ends the reader.
//
// Errors: [InvalidError]; [ErrStreamNotFound]; [ErrShardNotFound]; [ErrKey]; [ErrDenied]; an error that wraps that of
// ctx.
func (c *Client) Tail(ctx context.Context, stream string, start Start, options ...TailOption) (*Reader, error) {
	r := &Reader{client: c, stream: stream, pages: make(chan page), feeds: make(map[uint32]*feed), later: start}
	for _, option := range options {
		if err := option(r); err != nil {
			return nil, err
		}
	}
	if start.kind == startAtPosition && r.only == nil {
		return nil, invalid("start", "a position is of one shard: use OfShard")
	}
	if start.kind == startLatest {
		// The first records of a child are newer than the moment in which the reader began.
		r.later = TrimHorizon()
	}
	ctx, free := c.bound(ctx)
	defer free()
	found, err := c.newestStream(ctx, stream)
	if err != nil {
		return nil, err
	}
	r.streamID = found.id
	first := r.first(found, start)
	if first == nil {
		return nil, fmt.Errorf("%w: %s of %s", ErrShardNotFound, shardID(*r.only), stream)
	}
	positions, err := c.seekAll(ctx, first, start)
	if err != nil {
		return nil, err
	}
	r.ctx, r.stop = context.WithCancelCause(c.ctx)
	r.tasks.Go(r.follow)
	r.mu.Lock()
	defer r.mu.Unlock()
	for place, one := range first {
		r.begin(one, AtPosition(positions[place]))
	}
	if err := c.adopt(r.ctx, &r.tasks); err != nil {
		return nil, err
	}
	return r, nil
}

// first returns the shards to begin with; nil if the stream does not have the shard that is to be read alone.
func (r *Reader) first(found *stream, start Start) []*shard {
	if r.only != nil {
		if alone := found.shards[*r.only]; alone != nil {
			return []*shard{alone}
		}
		return nil
	}
	r.lineage = newLineage()
	if start.kind == startLatest {
		r.lineage.skipClosed(found)
	}
	return r.lineage.begin(found)
}

// seeksAtOnce bounds the shards whose positions are looked for at a time.
const seeksAtOnce = 64

func (c *Client) seekAll(ctx context.Context, shards []*shard, start Start) ([]Position, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	positions := make([]Position, len(shards))
	permits := make(chan struct{}, seeksAtOnce)
	var seeks sync.WaitGroup
	for place, one := range shards {
		permits <- struct{}{}
		seeks.Go(func() {
			defer func() { <-permits }()
			var err error
			if positions[place], err = c.seek(ctx, route{group: one.group}, start); err != nil {
				cancel(err)
			}
		})
	}
	seeks.Wait()
	return positions, context.Cause(ctx)
}

// begin starts the task of a shard. The caller holds mu.
func (r *Reader) begin(one *shard, start Start) {
	f := r.client.newFeed(r.ctx, route{group: one.group}, one.id())
	if one.end != nil {
		f.closeAt(*one.end)
	}
	r.feeds[one.number] = f
	r.tasks.Go(func() {
		defer f.shut()
		err := r.read(f, start)
		if err != io.EOF {
			r.stop(fmt.Errorf("reading %s of %s: %w", f.shardID, r.stream, err))
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.end(one.number)
	})
}

// read gives out the pages of a shard until its end, io.EOF.
func (r *Reader) read(f *feed, start Start) (err error) {
	f.next, err = r.client.seek(r.ctx, f.route, start)
	for err == nil {
		var read page
		if read, err = f.page(); err == nil {
			select {
			case r.pages <- read:
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
		}
	}
	if errors.Is(err, ErrShardNotFound) && r.found() != nil {
		return io.EOF // the shard has expired with all of its records
	}
	return err
}

// end notes that a shard is read to its end, and begins with the children whose parents have all been read. The catalog
// shows them: the version that closed the parent has opened them. The caller holds mu.
func (r *Reader) end(number uint32) {
	delete(r.feeds, number)
	if r.only != nil {
		r.stop(io.EOF)
		return
	}
	r.lineage.end(number)
	if found := r.found(); found != nil {
		for _, child := range r.lineage.begin(found) {
			r.begin(child, r.later)
		}
	}
}

// follow tells the feeds which shards are closed, by each version of the catalog.
func (r *Reader) follow() {
	for {
		v := r.client.catalog.view()
		found := v.stream(r.stream, r.streamID)
		if found == nil {
			r.stop(fmt.Errorf("%w: %s", ErrStreamNotFound, r.stream))
			return
		}
		r.mu.Lock()
		for number, f := range r.feeds {
			if one := found.shards[number]; one != nil && one.end != nil {
				f.closeAt(*one.end)
			}
		}
		r.mu.Unlock()
		select {
		case <-v.changed:
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Reader) found() *stream { return r.client.catalog.view().stream(r.stream, r.streamID) }

// Next returns the next record, of whichever shard has one, and waits for it if there is none yet. It must not be
// called concurrently.
//
// Errors: that of ctx, after which the reader goes on; io.EOF at the end of the shard that is read alone, while a
// stream does not end; [ErrStreamNotFound] if the stream was deleted; [ErrKey] if the records cannot be decrypted;
// [ErrDenied]; [ErrClosed]. After these the reader is over.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	if len(r.current) == 0 {
		if err := context.Cause(r.ctx); err != nil {
			return Record{}, err
		}
		select {
		case read := <-r.pages:
			r.current = read.records
		case <-r.ctx.Done():
			return Record{}, context.Cause(r.ctx)
		case <-ctx.Done():
			return Record{}, ctx.Err()
		}
	}
	record := r.current[0]
	r.current = r.current[1:]
	return record, nil
}

// Close ends the reader. Returns when all of its goroutines have ended. May be called again, and while Next waits.
func (r *Reader) Close() {
	r.stop(ErrClosed)
	r.tasks.Wait()
}

// lineage is the order in which the shards of a stream are read: a child after all of its parents.
//
//	0 ─┬─ merged ── 2 ─┬─ 3      0 and 1 can be read at once. 2 follows when both have been read to their ends,
//	1 ─┘               └─ 4      3 and 4 when 2 has.
//
// A parent that the catalog does not list any more has expired: its children do not wait for it.
type lineage struct {
	begun, ended map[uint32]bool
}

func newLineage() lineage { return lineage{begun: make(map[uint32]bool), ended: make(map[uint32]bool)} }

// skipClosed leaves out the shards that are closed in this version of the stream.
func (l *lineage) skipClosed(found *stream) {
	for number, one := range found.shards {
		if one.end != nil {
			l.begun[number], l.ended[number] = true, true
		}
	}
}

// begin returns the shards that can be read from now on, by number. Each shard is returned once.
func (l *lineage) begin(found *stream) []*shard {
	var shards []*shard
	for number, one := range found.shards {
		waits := slices.ContainsFunc(one.parents, func(parent uint32) bool {
			return found.shards[parent] != nil && !l.ended[parent]
		})
		if !l.begun[number] && !waits {
			l.begun[number] = true
			shards = append(shards, one)
		}
	}
	slices.SortFunc(shards, func(a, b *shard) int { return int(a.number) - int(b.number) })
	return shards
}

func (l *lineage) end(number uint32) { l.ended[number] = true }
