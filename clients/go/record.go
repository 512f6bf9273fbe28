package anabranch

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/logpb"
)

// Position is the place of a record in its shard. Positions rise in the order in which records were written.
type Position struct {
	// LogIndex is the log index of the entry that holds the record.
	LogIndex uint64
	// Offset is the place of the record in its entry, from 0: at most 65,535.
	Offset uint32
}

// Compare returns -1 if p is before other, 1 if it is after other, and 0 if they are equal.
func (p Position) Compare(other Position) int {
	return cmp.Or(cmp.Compare(p.LogIndex, other.LogIndex), cmp.Compare(p.Offset, other.Offset))
}

// Next returns the position just after p: where a reader goes on that has processed the record at p.
func (p Position) Next() Position {
	if p.Offset >= 0xffff {
		return Position{LogIndex: p.LogIndex + 1}
	}
	return Position{LogIndex: p.LogIndex, Offset: p.Offset + 1}
}

func (p Position) message() *logpb.Position {
	return &logpb.Position{LogIndex: p.LogIndex, Offset: p.Offset}
}

func positionOf(message *logpb.Position) Position {
	return Position{LogIndex: message.GetLogIndex(), Offset: message.GetOffset()}
}

// Record is a record of a stream, as its producer put it. A record that the Kinesis Producer Library has aggregated is
// one record: it is not taken apart.
type Record struct {
	// ShardID names the shard, as in the Kinesis API: "shardId-" and twelve digits.
	ShardID string
	// Position in the shard.
	Position Position
	// Arrival is when the record arrived at the leader of the shard, by its clock, in whole milliseconds.
	Arrival time.Time
	// PartitionKey of the record: UTF-8.
	PartitionKey string
	// Data of the user. It belongs to the caller.
	Data []byte
}

// Start says where a reader begins. The zero value is [TrimHorizon].
type Start struct {
	kind     startKind
	millis   uint64
	position Position
}

type startKind int

const (
	startTrimHorizon startKind = iota
	startLatest
	startAtTime
	startAtPosition
)

// TrimHorizon begins at the oldest record that is retained.
func TrimHorizon() Start { return Start{} }

// Latest begins after the newest record that was acknowledged before the call. Shards that are closed by then are not
// read. The children of open shards are read from their beginning.
func Latest() Start { return Start{kind: startLatest} }

// AtTime begins at the first record of each shard that arrived at t or later. Times before 1970 mean 1970.
func AtTime(t time.Time) Start {
	return Start{kind: startAtTime, millis: uint64(max(t.UnixMilli(), 0))}
}

// AtPosition begins at p, or at the next record if there is none at p. Only for readers of one shard.
func AtPosition(p Position) Start { return Start{kind: startAtPosition, position: p} }

// page holds neighbouring records of one shard.
type page struct {
	records []Record
	// next is the position at which the next page begins.
	next Position
}

// pageOf decodes a page of the shard. An error says that the bytes are damaged.
func pageOf(message *logpb.ReadResponse, shardID string) (page, error) {
	result := page{next: positionOf(message.Next)}
	for _, part := range message.Batches {
		var batch logpb.RecordBatch
		if err := proto.Unmarshal(part.Batch, &batch); err != nil {
			return page{}, fmt.Errorf("batch at log index %d of %s: %w", part.LogIndex, shardID, err)
		}
		end := uint64(part.First) + uint64(part.Records)
		if end > uint64(len(batch.Records)) {
			return page{}, fmt.Errorf("batch at log index %d of %s has %d records, not %d",
				part.LogIndex, shardID, len(batch.Records), end)
		}
		arrival := time.UnixMilli(int64(part.ArrivalMillis))
		for place, record := range batch.Records[part.First:end] {
			result.records = append(result.records, Record{
				ShardID:      shardID,
				Position:     Position{LogIndex: part.LogIndex, Offset: part.First + uint32(place)},
				Arrival:      arrival,
				PartitionKey: string(record.PartitionKey),
				Data:         record.Data,
			})
		}
	}
	return result, nil
}
