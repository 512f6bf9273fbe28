package anabranch

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/catalogpb"
	"anabranch/clients/go/internal/pb/logpb"
)

// view is one version of the catalog, prepared for routing. It never changes.
type view struct {
	version uint64
	// nodes holds the addresses of the nodes' gRPC ports.
	nodes   map[uint64]string
	streams map[string]*stream
	// holders holds the nodes with a replica, by the group of a shard.
	holders map[uint64][]uint64
	// changed is closed when there is a newer view.
	changed chan struct{}
}

type stream struct {
	name string
	// id tells the stream from other streams of its name.
	id             uint64
	maxRecordBytes int
	// isMeasured says that appends carry the hash keys of their records, because the load of shards is measured.
	isMeasured bool
	// isSpread says that records go to any shard, whatever their partition keys.
	isSpread bool
	// shards by number, closed ones included.
	shards map[uint32]*shard
	// open holds the open shards by hash key. They cover all hash keys.
	open []*shard
}

type shard struct {
	number uint32
	group  uint64
	// first and last are the lowest and the highest hash key.
	first, last hashKey
	parents     []uint32
	// end is the position after the last record; nil while the shard is open.
	end *Position
}

// hashKey is an unsigned number of 128 bits, big endian.
type hashKey [16]byte

func (k hashKey) compare(other hashKey) int { return bytes.Compare(k[:], other[:]) }

func (s *shard) id() string { return shardID(s.number) }

// overlaps says whether a partition key may belong to both shards.
func (s *shard) overlaps(other *shard) bool {
	return s.first.compare(other.last) <= 0 && other.first.compare(s.last) <= 0
}

// shardFor returns the open shard that the key belongs to; nil if there is none.
func (s *stream) shardFor(key hashKey) *shard {
	place, _ := slices.BinarySearchFunc(s.open, key, func(open *shard, key hashKey) int {
		return open.last.compare(key)
	})
	if place == len(s.open) {
		return nil
	}
	return s.open[place]
}

func shardID(number uint32) string { return fmt.Sprintf("shardId-%012d", number) }

// stream returns the stream of that name and, unless id is 0, of that id; nil if there is none.
func (v *view) stream(name string, id uint64) *stream {
	found := v.streams[name]
	if found == nil || (id != 0 && found.id != id) {
		return nil
	}
	return found
}

func newView(catalog *catalogpb.Catalog) (*view, error) {
	v := &view{
		version: catalog.Version,
		nodes:   make(map[uint64]string, len(catalog.Nodes)),
		streams: make(map[string]*stream, len(catalog.Streams)),
		holders: make(map[uint64][]uint64),
		changed: make(chan struct{}),
	}
	for _, node := range catalog.Nodes {
		v.nodes[node.Id] = node.GrpcAddress
	}
	for _, listed := range catalog.Streams {
		if listed.Status == catalogpb.StreamStatus_STREAM_STATUS_DELETING {
			continue
		}
		s := &stream{
			name:           listed.Name,
			id:             listed.Id,
			maxRecordBytes: int(listed.MaxRecordSizeKib) << 10,
			isMeasured:     listed.Mode == catalogpb.StreamMode_STREAM_MODE_ON_DEMAND,
			isSpread:       listed.Distribution == catalogpb.Distribution_DISTRIBUTION_AUTO,
			shards:         make(map[uint32]*shard, len(listed.Shards)),
		}
		for _, listed := range listed.Shards {
			one, err := newShard(listed)
			if err != nil {
				return nil, fmt.Errorf("stream %s: %w", s.name, err)
			}
			s.shards[one.number] = one
			if one.end == nil {
				s.open = append(s.open, one)
			}
			for _, replica := range listed.Replicas {
				v.holders[one.group] = append(v.holders[one.group], replica.Node)
			}
			if to := listed.GetMoving().GetTo(); to != nil {
				v.holders[one.group] = append(v.holders[one.group], to.Node)
			}
		}
		slices.SortFunc(s.open, func(a, b *shard) int { return a.last.compare(b.last) })
		v.streams[s.name] = s
	}
	return v, nil
}

func newShard(listed *catalogpb.Shard) (*shard, error) {
	s := &shard{number: listed.Id, group: listed.Group, parents: listed.Parents}
	if len(listed.HashKeyStart) != len(s.first) || len(listed.HashKeyEnd) != len(s.last) {
		return nil, fmt.Errorf("shard %d: a hash key has 16 bytes", listed.Id)
	}
	copy(s.first[:], listed.HashKeyStart)
	copy(s.last[:], listed.HashKeyEnd)
	if listed.EndingSequenceNumber != "" {
		last, err := positionOfNumber(listed.EndingSequenceNumber)
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", listed.Id, err)
		}
		end := last.Next()
		s.end = &end
	}
	return s, nil
}

// positionOfNumber takes the position out of a Kinesis sequence number. It has 64 bits, above the lowest 80: the log
// index, and 16 bits for the place in the entry.
func positionOfNumber(text string) (Position, error) {
	number, ok := new(big.Int).SetString(text, 10)
	if !ok || number.Sign() < 0 {
		return Position{}, fmt.Errorf("%q is not a sequence number", text)
	}
	mask := new(big.Int).SetUint64(^uint64(0))
	bits := number.Rsh(number, 80).And(number, mask).Uint64()
	return Position{LogIndex: bits >> 16, Offset: uint32(bits & 0xffff)}, nil
}

// catalogCopy is the client's copy of the catalog. It never goes back to an older version.
type catalogCopy struct {
	current atomic.Pointer[view]
	// leave makes the task that follows the catalog go on at another node.
	leave atomic.Pointer[context.CancelFunc]
}

func newCatalogCopy() *catalogCopy {
	copied := &catalogCopy{}
	copied.current.Store(&view{changed: make(chan struct{})})
	return copied
}

func (c *catalogCopy) view() *view { return c.current.Load() }

// publish is called by one task only.
func (c *catalogCopy) publish(v *view) {
	if old := c.current.Load(); v.version > old.version {
		c.current.Store(v)
		close(old.changed)
	}
}

// reach waits until the copy is at version or later. The version exists, because a node has named it. So if it does not
// come soon, the node that is followed is late.
func (c *catalogCopy) reach(ctx context.Context, version uint64) (*view, error) {
	late := time.NewTicker(time.Second)
	defer late.Stop()
	for {
		v := c.view()
		if v.version >= version {
			return v, nil
		}
		select {
		case <-v.changed:
		case <-late.C:
			if leave := c.leave.Load(); leave != nil {
				(*leave)()
			}
		case <-ctx.Done():
			return nil, ended(ctx, nil)
		}
	}
}

// Pause once none of the nodes had the catalog.
const followAgain = 25 * time.Millisecond

// followCatalog keeps the copy up to date, from one node after the other, until the client is closed.
func (c *Client) followCatalog() {
	var usersVersion uint64
	for c.ctx.Err() == nil {
		for _, to := range c.destinations() {
			f := c.followCatalogAt(to, &usersVersion)
			if c.ctx.Err() != nil {
				return
			}
			c.log.Info("the catalog is followed at another node", "node", to.address, "reason", f)
		}
		sleep(c.ctx, followAgain)
	}
}

// followCatalogAt follows the catalog at one node until the stream breaks. The client needs no users: it names their
// version, so that the node leaves them out.
func (c *Client) followCatalogAt(to destination, usersVersion *uint64) *failure {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.catalog.leave.Store(&cancel)
	request := &logpb.WatchRequest{KnownVersion: c.catalog.view().version, KnownUsersVersion: usersVersion}
	node := logpb.NewCatalogServiceClient(c.peer(to).calls)
	versions, f := open(ctx, callPatience,
		func(ctx context.Context, options ...grpc.CallOption) (grpc.ServerStreamingClient[logpb.WatchResponse], error) {
			return node.Watch(ctx, request, options...)
		})
	if f != nil {
		return f
	}
	defer versions.close()
	for {
		// Without a change there is no message. The keepalive of the connection finds a node that hangs.
		message, f := versions.next(math.MaxInt64)
		if f != nil {
			return f
		}
		var catalog catalogpb.Catalog
		if err := proto.Unmarshal(message.Catalog, &catalog); err != nil {
			return &failure{text: "catalog: " + err.Error()}
		}
		v, err := newView(&catalog)
		if err != nil {
			return &failure{text: "catalog: " + err.Error()}
		}
		*usersVersion = catalog.UsersVersion
		c.catalog.publish(v)
	}
}

// newestView returns a version of the catalog that has every change that was acknowledged before the call.
func (c *Client) newestView(ctx context.Context) (*view, error) {
	var last *failure
	for {
		for _, to := range c.destinations() {
			node := logpb.NewCatalogServiceClient(c.peer(to).calls)
			newest, f := ask(ctx, callPatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.NewestResponse, error) {
					return node.Newest(ctx, &logpb.NewestRequest{}, options...)
				})
			if f == nil {
				return c.catalog.reach(ctx, newest.Version)
			}
			if last = f; f.isFinal() {
				return nil, f
			}
		}
		if !sleep(ctx, longestPause) {
			return nil, ended(ctx, last)
		}
	}
}

// newestStream returns the stream as the newest version of the catalog has it.
func (c *Client) newestStream(ctx context.Context, name string) (*stream, error) {
	v, err := c.newestView(ctx)
	if err != nil {
		return nil, fmt.Errorf("newest catalog: %w", err)
	}
	found := v.stream(name, 0)
	if found == nil {
		return nil, fmt.Errorf("%w: %s", ErrStreamNotFound, name)
	}
	return found, nil
}
