package anabranch

import (
	"context"
	"crypto/md5"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/catalogpb"
	"anabranch/clients/go/internal/pb/consumerpb"
	"anabranch/clients/go/internal/pb/logpb"
)

// streamName is the only stream of a fake cluster.
const streamName = "clicks"

// fakeCluster is a cluster in this process: nodes on loopback that share one state.
type fakeCluster struct {
	t       *testing.T
	mu      sync.Mutex
	changed chan struct{} // closed at each change
	catalog *catalogpb.Catalog
	shards  map[uint64]*fakeShard
	servers map[uint64]*grpc.Server
	// onAppend is asked before each append of the leader. It may refuse it, or lose its answer.
	onAppend func(shard *fakeShard, batch *logpb.RecordBatch) fault
	members  *fakeMembers
}

// fault says what happens to an append.
type fault int

const (
	none fault = iota
	frozen
	throttled
	// closed refuses the batch, also if it was written before.
	closed
	// loseAnswer writes the batch, and the client hears nothing of it.
	loseAnswer
)

type fakeShard struct {
	group, leader uint64
	// isUnready: the leader answers nothing, and names itself.
	isUnready, isClosed bool
	records             []*logpb.PageBatch
	appends             int
	// calls holds the entries of batches by their identity.
	calls map[string]*logpb.Run
}

// newFakeCluster starts nodes and a stream with one shard, group 1, which node 1 leads.
func newFakeCluster(t *testing.T, nodes int) *fakeCluster {
	c := &fakeCluster{
		t:       t,
		changed: make(chan struct{}),
		shards:  map[uint64]*fakeShard{},
		servers: map[uint64]*grpc.Server{},
		members: &fakeMembers{},
		catalog: &catalogpb.Catalog{Version: 1, Streams: []*catalogpb.Stream{{
			Name: streamName, Id: 7, Status: catalogpb.StreamStatus_STREAM_STATUS_ACTIVE, MaxRecordSizeKib: 1024,
		}}},
	}
	for id := range uint64(nodes) {
		c.start(id + 1)
	}
	c.addShard(0, 1, 0x00, 0xff)
	t.Cleanup(func() {
		for _, server := range c.servers {
			server.Stop()
		}
	})
	return c
}

func (c *fakeCluster) start(id uint64) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	server := grpc.NewServer()
	node := &fakeNode{cluster: c, id: id}
	logpb.RegisterLogServiceServer(server, node)
	logpb.RegisterCatalogServiceServer(server, fakeCatalog{fakeNode: node})
	consumerpb.RegisterConsumerGroupServiceServer(server, fakeCoordinator{fakeNode: node})
	c.servers[id] = server
	c.catalog.Nodes = append(c.catalog.Nodes, &catalogpb.Node{Id: id, GrpcAddress: listener.Addr().String()})
	go server.Serve(listener)
}

// stop kills a node: connections to it break, and new ones are refused.
func (c *fakeCluster) stop(id uint64) { c.servers[id].Stop() }

// change changes the state, and tells everyone who waits for it.
func (c *fakeCluster) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// addShard adds a shard for the hash keys whose first byte is from first to last. The caller holds no lock, or is the
// only one to use the cluster.
func (c *fakeCluster) addShard(number uint32, group uint64, first, last byte, parents ...uint32) {
	start, end := slices.Repeat([]byte{0}, 16), slices.Repeat([]byte{0xff}, 16)
	start[0], end[0] = first, last
	added := &catalogpb.Shard{Id: number, Group: group, HashKeyStart: start, HashKeyEnd: end, Parents: parents}
	for _, node := range c.catalog.Nodes {
		added.Replicas = append(added.Replicas, &catalogpb.Replica{Id: node.Id, Node: node.Id})
	}
	c.catalog.Streams[0].Shards = append(c.catalog.Streams[0].Shards, added)
	c.shards[group] = &fakeShard{group: group, leader: 1, calls: map[string]*logpb.Run{}}
}

// split closes shard 0 of group 1, and opens shards 1 and 2 of groups 2 and 3.
func (c *fakeCluster) split() {
	c.closeShard()
	c.showSplit()
}

func (c *fakeCluster) closeShard() {
	c.change(func() { c.shards[1].isClosed = true })
}

func (c *fakeCluster) showSplit() {
	c.change(func() {
		c.catalog = proto.Clone(c.catalog).(*catalogpb.Catalog)
		last := Position{}
		if records := c.shards[1].records; len(records) > 0 {
			entry := records[len(records)-1]
			last = Position{entry.LogIndex, entry.Records - 1}
		}
		c.catalog.Streams[0].Shards[0].EndingSequenceNumber = numberOf(last)
		c.addShard(1, 2, 0x00, 0x7f, 0)
		c.addShard(2, 3, 0x80, 0xff, 0)
		c.catalog.Version++
	})
}

// written returns the data of all records of a shard, in order.
func (c *fakeCluster) written(group uint64) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var data []string
	for _, entry := range c.shards[group].records {
		var batch logpb.RecordBatch
		proto.Unmarshal(entry.Batch, &batch)
		for _, record := range batch.Records {
			data = append(data, string(record.Data))
		}
	}
	return data
}

// connect makes a client that is closed at the end of the test.
func (c *fakeCluster) connect() *Client {
	c.t.Helper()
	client, err := Connect(within(c.t, 5*time.Second), []string{c.catalog.Nodes[0].GrpcAddress})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// refusal makes an error as a node does: the details are an ErrorDetail.
func refusal(ctx context.Context, kind logpb.ErrorKind, leader uint64, code codes.Code, text string) error {
	details, _ := proto.Marshal(&logpb.ErrorDetail{Kind: kind, LeaderNode: leader})
	grpc.SetTrailer(ctx, metadata.Pairs("grpc-status-details-bin", string(details)))
	return status.Error(code, text)
}

type fakeNode struct {
	logpb.UnimplementedLogServiceServer
	cluster *fakeCluster
	id      uint64
}

// shard returns a shard and whether the node leads it. The caller holds the lock.
func (n *fakeNode) shard(ctx context.Context, group uint64, mustLead bool) (*fakeShard, error) {
	s := n.cluster.shards[group]
	if s == nil {
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_NOT_FOUND, 0, codes.NotFound, "not found")
	}
	if mustLead && s.leader != n.id || s.isUnready && s.leader == n.id {
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_NOT_LEADER, s.leader, codes.FailedPrecondition, "not the leader")
	}
	return s, nil
}

func (n *fakeNode) Append(ctx context.Context, request *logpb.AppendRequest) (*logpb.AppendResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	s, err := n.shard(ctx, request.Group, true)
	if err != nil {
		return nil, err
	}
	var batch logpb.RecordBatch
	if err := proto.Unmarshal(request.Batch, &batch); err != nil {
		return nil, err
	}
	s.appends++
	lost := none
	if n.cluster.onAppend != nil {
		lost = n.cluster.onAppend(s, &batch)
	}
	call := fmt.Sprintf("%x %d", batch.Producer.Id, batch.Producer.Sequence)
	run := s.calls[call]
	switch {
	case lost == closed:
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_CLOSED, 0, codes.FailedPrecondition, "closed")
	case run != nil:
	case lost == frozen:
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_FROZEN, 0, codes.Aborted, "frozen")
	case lost == throttled:
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_THROTTLED, 0, codes.ResourceExhausted, "full")
	case s.isClosed:
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_CLOSED, 0, codes.FailedPrecondition, "closed")
	default:
		run = s.write(request.Batch, len(batch.Records))
		s.calls[call] = run
		close(n.cluster.changed)
		n.cluster.changed = make(chan struct{})
	}
	if lost == loseAnswer {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return &logpb.AppendResponse{Runs: []*logpb.Run{run}}, nil
}

func (s *fakeShard) write(batch []byte, records int) *logpb.Run {
	entry := &logpb.PageBatch{
		LogIndex: uint64(len(s.records) + 3), ArrivalMillis: 1000, Records: uint32(records), Batch: batch,
	}
	s.records = append(s.records, entry)
	return &logpb.Run{First: &logpb.Position{LogIndex: entry.LogIndex}, Records: entry.Records, ArrivalMillis: 1000}
}

func (n *fakeNode) Recall(ctx context.Context, request *logpb.RecallRequest) (*logpb.RecallResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	s, err := n.shard(ctx, request.Group, false)
	if err != nil {
		return nil, err
	}
	if !s.isClosed {
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_FROZEN, 0, codes.Aborted, "not closed")
	}
	var batch logpb.RecordBatch
	proto.Unmarshal(request.Batch, &batch)
	answer := &logpb.RecallResponse{}
	run := s.calls[fmt.Sprintf("%x %d", batch.Producer.Id, batch.Producer.Sequence)]
	for place := range run.GetRecords() {
		first := &logpb.Position{LogIndex: run.First.LogIndex, Offset: place}
		one := &logpb.Run{First: first, Records: 1, ArrivalMillis: run.ArrivalMillis}
		answer.Records = append(answer.Records, &logpb.RecalledRecord{Place: place, Run: one})
	}
	return answer, nil
}

func (n *fakeNode) Seek(ctx context.Context, request *logpb.SeekRequest) (*logpb.SeekResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	s, err := n.shard(ctx, request.Group, request.LeaderOnly)
	if err != nil {
		return nil, err
	}
	if request.GetLatest() != nil {
		return &logpb.SeekResponse{Position: &logpb.Position{LogIndex: uint64(len(s.records) + 3)}}, nil
	}
	return &logpb.SeekResponse{Position: &logpb.Position{LogIndex: 1}}, nil
}

// page returns the entries from a position on, at most two. The caller holds the lock.
func (s *fakeShard) page(from *logpb.Position) *logpb.ReadResponse {
	page := &logpb.ReadResponse{Next: from}
	for _, entry := range s.records {
		if entry.LogIndex < from.LogIndex || entry.LogIndex == from.LogIndex && entry.Records <= from.Offset {
			continue
		}
		part := proto.Clone(entry).(*logpb.PageBatch)
		if entry.LogIndex == from.LogIndex {
			part.First, part.Records = from.Offset, entry.Records-from.Offset
		}
		page.Batches = append(page.Batches, part)
		page.Next = &logpb.Position{LogIndex: entry.LogIndex, Offset: entry.Records}
		if len(page.Batches) == 2 {
			return page
		}
	}
	if len(page.Batches) == 0 {
		page.Next = &logpb.Position{LogIndex: uint64(len(s.records) + 3)}
	}
	return page
}

func (n *fakeNode) Read(ctx context.Context, request *logpb.ReadRequest) (*logpb.ReadResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	s, err := n.shard(ctx, request.Group, request.LeaderOnly)
	if err != nil {
		return nil, err
	}
	return s.page(request.From), nil
}

func (n *fakeNode) Tail(request *logpb.TailRequest, pages grpc.ServerStreamingServer[logpb.ReadResponse]) error {
	from := request.From
	pages.SendHeader(nil)
	for {
		n.cluster.mu.Lock()
		page, changed := n.cluster.shards[request.Group].page(from), n.cluster.changed
		n.cluster.mu.Unlock()
		from = page.Next
		if len(page.Batches) > 0 {
			if err := pages.Send(page); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-pages.Context().Done():
			return nil
		}
	}
}

type fakeCatalog struct {
	logpb.UnimplementedCatalogServiceServer
	*fakeNode
}

func (n fakeCatalog) Watch(
	request *logpb.WatchRequest, versions grpc.ServerStreamingServer[logpb.WatchResponse],
) error {
	known := request.KnownVersion
	versions.SendHeader(nil)
	for {
		n.cluster.mu.Lock()
		version, changed := n.cluster.catalog.Version, n.cluster.changed
		encoded, _ := proto.Marshal(n.cluster.catalog)
		n.cluster.mu.Unlock()
		if version > known {
			known = version
			if err := versions.Send(&logpb.WatchResponse{Catalog: encoded}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-versions.Context().Done():
			return nil
		}
	}
}

func (n fakeCatalog) Newest(context.Context, *logpb.NewestRequest) (*logpb.NewestResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return &logpb.NewestResponse{Version: n.cluster.catalog.Version}, nil
}

// fakeMembers is a group that one node coordinates. The test says what the member owns.
type fakeMembers struct {
	coordinator uint64
	isMember    bool
	joins       int
	shards      []*consumerpb.OwnedShard
	// said holds what the member has said, in words.
	said []string
}

type fakeCoordinator struct {
	consumerpb.UnimplementedConsumerGroupServiceServer
	*fakeNode
}

// member takes the lock, if the node coordinates the group and the member is known.
func (n fakeCoordinator) member(ctx context.Context, mustBe bool) (*fakeMembers, error) {
	n.cluster.mu.Lock()
	m := n.cluster.members
	var err error
	switch {
	case m.coordinator != n.id:
		err = refusal(ctx, logpb.ErrorKind_ERROR_KIND_NOT_LEADER, m.coordinator, codes.FailedPrecondition, "elsewhere")
	case mustBe && !m.isMember:
		err = refusal(ctx, logpb.ErrorKind_ERROR_KIND_NOT_FOUND, 0, codes.NotFound, "no member")
	default:
		return m, nil
	}
	n.cluster.mu.Unlock()
	return nil, err
}

func (n fakeCoordinator) Join(ctx context.Context, request *consumerpb.JoinRequest) (*consumerpb.JoinResponse, error) {
	m, err := n.member(ctx, false)
	if err != nil {
		return nil, err
	}
	defer n.cluster.mu.Unlock()
	if request.Description == "refuse" {
		text := `description: must not be "refuse"`
		return nil, refusal(ctx, logpb.ErrorKind_ERROR_KIND_INVALID, 0, codes.InvalidArgument, text)
	}
	m.isMember = true
	m.joins++
	return &consumerpb.JoinResponse{SessionMillis: request.SessionMillis, Created: true}, nil
}

func (n fakeCoordinator) Heartbeat(
	ctx context.Context, _ *consumerpb.HeartbeatRequest,
) (*consumerpb.HeartbeatResponse, error) {
	_, err := n.member(ctx, true)
	if err != nil {
		return nil, err
	}
	defer n.cluster.mu.Unlock()
	return &consumerpb.HeartbeatResponse{}, nil
}

func (n fakeCoordinator) Checkpoint(
	ctx context.Context, request *consumerpb.CheckpointRequest,
) (*consumerpb.CheckpointResponse, error) {
	m, err := n.member(ctx, true)
	if err != nil {
		return nil, err
	}
	defer n.cluster.mu.Unlock()
	answer := &consumerpb.CheckpointResponse{}
	for _, checkpoint := range request.Shards {
		owns := slices.ContainsFunc(m.shards, func(o *consumerpb.OwnedShard) bool {
			return o.Shard == checkpoint.Shard && o.Epoch == checkpoint.Epoch
		})
		if !owns {
			answer.Refused = append(answer.Refused, checkpoint.Shard)
			continue
		}
		m.say(checkpoint)
	}
	return answer, nil
}

func (m *fakeMembers) say(checkpoint *consumerpb.ShardCheckpoint) {
	said := fmt.Sprintf("shard %d epoch %d", checkpoint.Shard, checkpoint.Epoch)
	if next := checkpoint.Next; next != nil {
		said += fmt.Sprintf(" next %d.%d", next.LogIndex, next.Offset)
	}
	if checkpoint.Release {
		said += " release"
	}
	m.said = append(m.said, said)
}

func (n fakeCoordinator) Leave(
	ctx context.Context, request *consumerpb.LeaveRequest,
) (*consumerpb.LeaveResponse, error) {
	m, err := n.member(ctx, false)
	if err != nil {
		return nil, err
	}
	defer n.cluster.mu.Unlock()
	for _, checkpoint := range request.Shards {
		m.say(checkpoint)
	}
	m.said = append(m.said, "leave")
	return &consumerpb.LeaveResponse{}, nil
}

func (n fakeCoordinator) Watch(
	_ *consumerpb.WatchRequest, lists grpc.ServerStreamingServer[consumerpb.WatchResponse],
) error {
	for {
		m, err := n.member(lists.Context(), true)
		if err != nil {
			return err
		}
		list := proto.Clone(&consumerpb.WatchResponse{Shards: m.shards}).(*consumerpb.WatchResponse)
		changed := n.cluster.changed
		n.cluster.mu.Unlock()
		if err := lists.Send(list); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-lists.Context().Done():
			return nil
		}
	}
}

// numberOf makes a Kinesis sequence number with a position. All other parts are those of some shard.
func numberOf(p Position) string {
	number := big.NewInt(2)
	push := func(value uint64, width uint) {
		number.Or(number.Lsh(number, width), new(big.Int).SetUint64(value))
	}
	push(1_700_000_000, 36)
	push(5, 4)
	push(p.LogIndex<<16|uint64(p.Offset), 64)
	push(0, 8)
	push(1_700_000_777, 36)
	push(5, 32)
	push(2, 4)
	return number.String()
}

// keyOf returns a partition key whose hash key begins with a byte from first to last.
func keyOf(first, last byte) string {
	for n := 0; ; n++ {
		key := fmt.Sprint("key-", n)
		if hash := md5.Sum([]byte(key)); first <= hash[0] && hash[0] <= last {
			return key
		}
	}
}

// until waits for a condition of the cluster's state.
func (c *fakeCluster) until(what string, condition func() bool) {
	c.t.Helper()
	for range 500 {
		c.mu.Lock()
		isTrue := condition()
		c.mu.Unlock()
		if isTrue {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("never: %s", what)
}
