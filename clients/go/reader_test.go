package anabranch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/catalogpb"
)

func (c *fakeCluster) tail(start Start, options ...TailOption) *Reader {
	c.t.Helper()
	r, err := c.connect().Tail(within(c.t, 5*time.Second), streamName, start, options...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(r.Close)
	return r
}

// next returns the data of the next records.
func next(t *testing.T, r *Reader, count int) (data []string) {
	t.Helper()
	for range count {
		record, err := r.Next(within(t, 10*time.Second))
		if err != nil {
			t.Fatalf("after %v: %v", data, err)
		}
		data = append(data, string(record.Data))
	}
	return data
}

func TestAReaderReadsParentsBeforeTheirChildren(t *testing.T) {
	c := newFakeCluster(t, 3)
	p := c.producer(WithBatchRecords(3))
	low := keyOf(0x00, 0x7f)
	whole, alone := c.tail(TrimHorizon()), c.tail(TrimHorizon(), OfShard(shardID(0)))
	putAll(t, p, low, numbers(0, 5)...)
	flush(t, p)
	wantEqual(t, next(t, whole, 2), numbers(0, 2))
	c.split()
	putAll(t, p, low, numbers(5, 10)...)
	flush(t, p)
	wantEqual(t, next(t, whole, 8), numbers(2, 10))
	wantEqual(t, next(t, alone, 5), numbers(0, 5))
	for range 2 {
		if _, err := alone.Next(t.Context()); err != io.EOF {
			t.Fatalf("got %v", err)
		}
	}
	wantEqual(t, next(t, c.tail(TrimHorizon()), 10), numbers(0, 10))
	newest := c.tail(Latest())
	putAll(t, p, low, "010")
	wantEqual(t, next(t, newest, 1), numbers(10, 11))
	wantEqual(t, next(t, whole, 1), numbers(10, 11))
	if _, err := whole.Next(within(t, 50*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestAReaderGoesOnAtAnotherReplica(t *testing.T) {
	c := newFakeCluster(t, 3)
	p := c.producer()
	r := c.tail(TrimHorizon())
	putAll(t, p, "key", "000")
	wantEqual(t, next(t, r, 1), numbers(0, 1))
	c.change(func() { c.shards[1].leader = 2 })
	c.stop(1)
	putAll(t, p, "key", numbers(1, 4)...)
	wantEqual(t, next(t, r, 3), numbers(1, 4))
}

func TestOtherReplicasAnswerWhileTheLeaderIsNotReady(t *testing.T) {
	c := newFakeCluster(t, 3)
	p := c.producer(WithBatchRecords(1))
	putAll(t, p, "key", numbers(0, 5)...)
	flush(t, p)
	c.closeShard()
	c.showSplit()
	c.change(func() { c.shards[1].isUnready = true })
	wantEqual(t, next(t, c.tail(TrimHorizon()), 5), numbers(0, 5))
}

func TestAReaderBeginsInTheMiddleOfABatch(t *testing.T) {
	c := newFakeCluster(t, 1)
	p := c.producer(WithLinger(100 * time.Millisecond))
	putAll(t, p, "key", numbers(0, 3)...)
	last := put(t, p, "key", "003")
	flush(t, p)
	result, err := last.Wait(t.Context())
	if err != nil || result.Position.Offset == 0 {
		t.Fatal(result, err)
	}
	r := c.tail(AtPosition(result.Position), OfShard(result.ShardID))
	record, err := r.Next(within(t, 5*time.Second))
	if err != nil || record.Position != result.Position || string(record.Data) != "003" {
		t.Fatal(record, err)
	}
}

func TestAReaderEndsWithItsStream(t *testing.T) {
	c := newFakeCluster(t, 1)
	r := c.tail(TrimHorizon())
	c.change(func() {
		c.catalog = proto.Clone(c.catalog).(*catalogpb.Catalog)
		c.catalog.Streams = nil
		c.catalog.Version++
	})
	for range 2 {
		if _, err := r.Next(within(t, 5*time.Second)); !errors.Is(err, ErrStreamNotFound) {
			t.Fatalf("got %v", err)
		}
	}
	_, err := c.connect().Tail(t.Context(), streamName, TrimHorizon())
	if !errors.Is(err, ErrStreamNotFound) || !strings.Contains(fmt.Sprint(err), streamName) {
		t.Fatalf("got %v", err)
	}
}

func TestAShardThatIsNotThereIsNotFound(t *testing.T) {
	c := newFakeCluster(t, 1)
	_, err := c.connect().Tail(t.Context(), streamName, TrimHorizon(), OfShard(shardID(3)))
	if !errors.Is(err, ErrShardNotFound) {
		t.Fatalf("got %v", err)
	}
}
