package anabranch

import (
	"crypto/md5"
	"fmt"
	"testing"

	"anabranch/clients/go/internal/pb/catalogpb"
)

func TestAHashKeySelectsTheOpenShard(t *testing.T) {
	key := func(first byte) []byte { return append([]byte{first}, make([]byte, 15)...) }
	last := func(first byte) []byte {
		k := key(first)
		for place := 1; place < len(k); place++ {
			k[place] = 0xff
		}
		return k
	}
	v, err := newView(&catalogpb.Catalog{
		Version: 3,
		Nodes:   []*catalogpb.Node{{Id: 4, GrpcAddress: "a:1"}},
		Streams: []*catalogpb.Stream{
			{Name: "s", Id: 9, MaxRecordSizeKib: 2, Shards: []*catalogpb.Shard{
				{
					Id: 0, Group: 1, HashKeyStart: key(0), HashKeyEnd: last(0xff),
					EndingSequenceNumber: numberOf(Position{7, 0xffff}),
				},
				{Id: 2, Group: 3, HashKeyStart: key(0x80), HashKeyEnd: last(0xff), Parents: []uint32{0}},
				{
					Id: 1, Group: 2, HashKeyStart: key(0), HashKeyEnd: last(0x7f), Parents: []uint32{0},
					Replicas: []*catalogpb.Replica{{Id: 1, Node: 4}}, Moving: &catalogpb.Move{To: &catalogpb.Replica{Id: 2, Node: 5}},
				},
			}},
			{Name: "gone", Status: catalogpb.StreamStatus_STREAM_STATUS_DELETING},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	found := v.stream("s", 9)
	for first, want := range map[byte]uint32{0: 1, 0x7f: 1, 0x80: 2, 0xff: 2} {
		for _, k := range [][]byte{key(first), last(first)} {
			if got := found.shardFor(hashKey(k)).number; got != want {
				t.Errorf("%x: shard %d, want %d", k, got, want)
			}
		}
	}
	if end := *found.shards[0].end; end != (Position{8, 0}) {
		t.Errorf("end %v", end)
	}
	if fmt.Sprint(v.holders[2]) != "[4 5]" || found.maxRecordBytes != 2048 {
		t.Error(v.holders, found.maxRecordBytes)
	}
	if v.stream("s", 8) != nil || v.stream("gone", 0) != nil {
		t.Error("a stream of another id or a deleted stream is found")
	}
	// The documentation of the Kinesis API: the hash key is the MD5 of the partition key.
	if hash := hashKey(md5.Sum([]byte("a"))); fmt.Sprintf("%x", hash) != "0cc175b9c0f1b6a831c399e269772661" {
		t.Errorf("%x", hash)
	}
}

func TestAPositionIsReadFromASequenceNumber(t *testing.T) {
	for _, want := range []Position{{}, {1, 0}, {1<<47 - 1, 0xffff}, {123_456_789, 4321}} {
		if got, err := positionOfNumber(numberOf(want)); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if _, err := positionOfNumber("x1"); err == nil {
		t.Error("no number")
	}
}

func TestPositionsAreInOrder(t *testing.T) {
	for _, ordered := range [][2]Position{{{1, 5}, {2, 0}}, {{1, 5}, {1, 6}}} {
		if ordered[0].Compare(ordered[1]) != -1 || ordered[1].Compare(ordered[0]) != 1 {
			t.Error(ordered)
		}
	}
	if (Position{1, 5}).Next() != (Position{1, 6}) || (Position{1, 0xffff}).Next() != (Position{2, 0}) {
		t.Error("Next")
	}
}

func TestChildrenBeginWhenAllTheirParentsHaveBeenRead(t *testing.T) {
	// 0 and 1 merged into 2, which was split into 3 and 4. Shard 8 has expired.
	end := &Position{}
	found := &stream{shards: map[uint32]*shard{
		0: {number: 0, end: end}, 1: {number: 1, end: end, parents: []uint32{8}},
		2: {number: 2, end: end, parents: []uint32{0, 1}},
		3: {number: 3, parents: []uint32{2}}, 4: {number: 4, parents: []uint32{2}},
	}}
	begin := func(l *lineage) (begun []uint32) {
		for _, one := range l.begin(found) {
			begun = append(begun, one.number)
		}
		return begun
	}
	all := newLineage()
	wantEqual(t, begin(&all), []uint32{0, 1})
	all.end(1)
	wantEqual(t, begin(&all), nil)
	all.end(0)
	wantEqual(t, begin(&all), []uint32{2})
	all.end(2)
	wantEqual(t, begin(&all), []uint32{3, 4})
	wantEqual(t, begin(&all), nil)
	open := newLineage()
	open.skipClosed(found)
	wantEqual(t, begin(&open), []uint32{3, 4})
}
