package anabranch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"anabranch/clients/go/internal/pb/catalogpb"
	"anabranch/clients/go/internal/pb/logpb"
)

// realCluster is `anabranch dev` with three nodes. The environment variable ANABRANCH_BIN names the program.
type realCluster struct {
	t      *testing.T
	dir    string
	parent *exec.Cmd
	nodes  []*realNode
}

type realNode struct {
	ID      uint64   `json:"id"`
	Pid     int      `json:"pid"`
	Grpc    string   `json:"grpc"`
	Command []string `json:"command"`
}

func startCluster(t *testing.T, arguments ...string) *realCluster {
	binary := os.Getenv("ANABRANCH_BIN")
	if binary == "" {
		t.Skip("ANABRANCH_BIN is not set")
	}
	c := &realCluster{t: t, dir: filepath.Join(t.TempDir(), "data")}
	arguments = append([]string{"dev", "--nodes", "3", "--listen", "127.0.0.1:0", "--data-dir", c.dir}, arguments...)
	c.parent = exec.Command(binary, arguments...)
	c.parent.Stderr = os.Stderr
	output, err := c.parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "ready") {
			c.readNodes()
			go io.Copy(io.Discard, output)
			return c
		}
	}
	t.Fatal("the cluster has ended before it was ready")
	return nil
}

func (c *realCluster) readNodes() {
	text, err := os.ReadFile(filepath.Join(c.dir, "cluster.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	var file struct {
		Nodes []*realNode `json:"nodes"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		c.t.Fatal(err)
	}
	c.nodes = file.Nodes
}

// stop ends all processes of the cluster.
func (c *realCluster) stop() {
	for _, node := range c.nodes {
		syscall.Kill(node.Pid, syscall.SIGKILL)
	}
	c.parent.Process.Signal(syscall.SIGTERM)
	c.parent.Wait()
}

// kill ends the process of a node. restart begins another one.
func (c *realCluster) kill(node *realNode) { syscall.Kill(node.Pid, syscall.SIGKILL) }

func (c *realCluster) restart(node *realNode) {
	c.t.Helper()
	again := exec.Command(node.Command[0], node.Command[1:]...)
	if err := again.Start(); err != nil {
		c.t.Fatal(err)
	}
	node.Pid = again.Process.Pid
	c.t.Cleanup(func() {
		again.Process.Kill()
		again.Wait()
	})
}

func (c *realCluster) node(id uint64) *realNode {
	return c.nodes[slices.IndexFunc(c.nodes, func(node *realNode) bool { return node.ID == id })]
}

// leaderOf returns the node that leads an open shard of the stream to which the client writes.
func (c *realCluster) leaderOf(client *Client) *realNode {
	c.t.Helper()
	for range 500 {
		for _, open := range client.catalog.view().stream(streamName, 0).open {
			if leader := client.leaders.get(open.group); leader != 0 {
				return c.node(leader)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("no leader is known")
	return nil
}

func (c *realCluster) connect(options ...Option) *Client {
	c.t.Helper()
	var seeds []string
	for _, node := range c.nodes {
		seeds = append(seeds, node.Grpc)
	}
	client, err := Connect(within(c.t, 30*time.Second), seeds, options...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// propose has the catalog apply a command, at whichever node answers.
func propose(t *testing.T, client *Client, command *catalogpb.Command) {
	t.Helper()
	encoded, err := proto.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	var last any
	for range 300 {
		for _, to := range client.destinations() {
			node := logpb.NewCatalogServiceClient(client.peer(to).calls)
			answer, f := ask(t.Context(), callPatience,
				func(ctx context.Context, options ...grpc.CallOption) (*logpb.ProposeResponse, error) {
					return node.Propose(ctx, &logpb.ProposeRequest{Command: encoded}, options...)
				})
			var outcome catalogpb.Outcome
			if f == nil && proto.Unmarshal(answer.Outcome, &outcome) == nil && outcome.GetDoneVersion() != 0 {
				if _, err := client.catalog.reach(within(t, 10*time.Second), outcome.GetDoneVersion()); err != nil {
					t.Fatal(err)
				}
				return
			}
			last = fmt.Sprint(f, &outcome)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("proposed in vain: %v: %v", command, last)
}

func createStream(t *testing.T, client *Client, name string, shards uint32) {
	t.Helper()
	propose(t, client, &catalogpb.Command{Command: &catalogpb.Command_CreateStream{CreateStream: &catalogpb.CreateStream{
		Name: name, Shards: shards, Mode: catalogpb.StreamMode_STREAM_MODE_PROVISIONED, RetentionHours: 24,
		MaxRecordSizeKib: 1024, Replicas: 3, NowMillis: uint64(time.Now().UnixMilli()),
	}}})
}

// reshard replaces shards until there are count, and waits until that is done.
func reshard(t *testing.T, client *Client, name string, count uint32) {
	t.Helper()
	propose(t, client, &catalogpb.Command{Command: &catalogpb.Command_Reshard{Reshard: &catalogpb.Reshard{
		Stream: name, NowMillis: uint64(time.Now().UnixMilli()), Change: &catalogpb.Reshard_Count{Count: count},
	}}})
	for range 600 {
		if len(client.catalog.view().stream(name, 0).open) == int(count) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("never %d shards", count)
}

// writer puts numbered records of several partition keys until it is stopped.
type writer struct {
	t        *testing.T
	producer *Producer
	futures  []*Future
	stopped  chan struct{}
	task     sync.WaitGroup
}

const writerKeys = 16

func startWriter(t *testing.T, client *Client, stream string) *writer {
	p, err := client.NewProducer(within(t, 10*time.Second), stream, WithBatchRecords(50))
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, producer: p, stopped: make(chan struct{})}
	w.task.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-w.stopped:
				return
			case <-time.After(time.Millisecond):
			}
			key, data := fmt.Sprint("key-", n%writerKeys), strconv.Itoa(n/writerKeys)
			future, err := p.Put(t.Context(), key, []byte(data))
			if err != nil {
				t.Error(err)
				return
			}
			w.futures = append(w.futures, future)
		}
	})
	return w
}

// stop ends the writer, and returns how many records of each key were written. All must have succeeded.
func (w *writer) stop() map[string]int {
	w.t.Helper()
	close(w.stopped)
	w.task.Wait()
	if err := w.producer.Close(within(w.t, 120*time.Second)); err != nil {
		w.t.Fatal(err)
	}
	written := map[string]int{}
	for n, future := range w.futures {
		if _, err := future.Wait(w.t.Context()); err != nil {
			w.t.Fatalf("record %d: %v", n, err)
		}
		written[fmt.Sprint("key-", n%writerKeys)]++
	}
	w.t.Logf("%d records were written", len(w.futures))
	return written
}

func TestRealRecordsSurviveSplitsMergesAndLostNodes(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	createStream(t, client, streamName, 2)
	begun, err := client.Tail(within(t, 10*time.Second), streamName, Latest())
	if err != nil {
		t.Fatal(err)
	}
	w := startWriter(t, client, streamName)
	time.Sleep(time.Second)
	reshard(t, client, streamName, 4)
	leader := c.leaderOf(client)
	c.kill(leader)
	time.Sleep(4 * time.Second)
	c.restart(leader)
	reshard(t, client, streamName, 2)
	time.Sleep(time.Second)
	leader = c.leaderOf(client)
	syscall.Kill(leader.Pid, syscall.SIGSTOP)
	time.Sleep(5 * time.Second)
	syscall.Kill(leader.Pid, syscall.SIGCONT)
	time.Sleep(time.Second)
	written := w.stop()

	later, err := c.connect().Tail(within(t, 10*time.Second), streamName, TrimHorizon())
	if err != nil {
		t.Fatal(err)
	}
	for name, reader := range map[string]*Reader{"from the beginning": later, "while they were written": begun} {
		checkOrder(t, name, written, func() (Record, error) { return reader.Next(within(t, 30*time.Second)) })
		if record, err := reader.Next(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: one more: %v, %v", name, record, err)
		}
		reader.Close()
	}
}

// checkOrder reads as many records as were written: those of each key once, in order.
func checkOrder(t *testing.T, name string, written map[string]int, next func() (Record, error)) {
	t.Helper()
	read := map[string]int{}
	for !maps.Equal(read, written) {
		record, err := next()
		if err != nil {
			t.Fatalf("%s: read %v of %v: %v", name, read, written, err)
		}
		if string(record.Data) != strconv.Itoa(read[record.PartitionKey]) {
			t.Fatalf("%s: %s: got %s, want %d", name, record.PartitionKey, record.Data, read[record.PartitionKey])
		}
		read[record.PartitionKey]++
	}
}

func TestRealPositionsAreWhereARecordIsRead(t *testing.T) {
	c := startCluster(t)
	client := c.connect()
	createStream(t, client, streamName, 1)
	p, err := client.NewProducer(within(t, 10*time.Second), streamName)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	var results []Result
	for n := range 10 {
		future := put(t, p, "key", strconv.Itoa(n))
		flush(t, p)
		result, err := future.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	starts := map[string]Start{
		"beginning": TrimHorizon(), "time": AtTime(before), "third": AtPosition(results[2].Position),
	}
	var closed sync.Once
	for name, start := range starts {
		alone, err := client.Tail(within(t, 10*time.Second), streamName, start, OfShard(results[0].ShardID))
		if err != nil {
			t.Fatal(err)
		}
		wanted := results
		if name == "third" {
			wanted = results[2:]
		}
		for _, want := range wanted {
			record, err := alone.Next(within(t, 10*time.Second))
			got := Result{record.ShardID, record.Position, record.Arrival}
			if err != nil || got != want {
				t.Fatalf("%s: got %v, %v, want %v", name, got, err, want)
			}
		}
		closed.Do(func() { reshard(t, client, streamName, 2) })
		if record, err := alone.Next(within(t, 20*time.Second)); err != io.EOF {
			t.Fatalf("%s: got %v, %v at the end", name, record, err)
		}
		alone.Close()
	}
}

func TestRealMutualTLS(t *testing.T) {
	c := startCluster(t, "--tls")
	file := func(name string) string { return filepath.Join(c.dir, "tls", name) }
	client := c.connect(WithMutualTLS(file("ca.pem"), file("client.pem"), file("client.key")))
	createStream(t, client, streamName, 1)
	w := startWriter(t, client, streamName)
	time.Sleep(time.Second)
	written := w.stop()
	reader, err := client.Tail(within(t, 10*time.Second), streamName, TrimHorizon())
	if err != nil {
		t.Fatal(err)
	}
	checkOrder(t, "over TLS", written, func() (Record, error) { return reader.Next(within(t, 10*time.Second)) })
	group, err := client.JoinGroup(within(t, 20*time.Second), streamName, "readers")
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Close(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(within(t, time.Second), []string{c.nodes[0].Grpc}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
}

// member is a member of a group that processes all of its batches.
type member struct {
	group         *Group
	task          sync.WaitGroup
	batches, lost int
}

// processed is what the members of a group have processed.
type processed struct {
	mu      sync.Mutex
	records map[string][]int
	again   int
}

func (p *processed) count() (count int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, records := range p.records {
		count += len(records)
	}
	return count
}

func (p *processed) join(t *testing.T, client *Client, options ...GroupOption) *member {
	t.Helper()
	group, err := client.JoinGroup(within(t, 30*time.Second), streamName, "readers", options...)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{group: group}
	m.task.Go(func() {
		for {
			batch, err := group.Next(t.Context())
			if err != nil {
				if !errors.Is(err, ErrClosed) && t.Context().Err() == nil {
					t.Error(err)
				}
				return
			}
			p.note(t, batch)
			m.batches++
			switch err := batch.Checkpoint(t.Context()); {
			case errors.Is(err, ErrOwnershipLost):
				m.lost++
			case err != nil && !errors.Is(err, ErrClosed) && t.Context().Err() == nil:
				t.Error(err)
			}
		}
	})
	return m
}

// note keeps the records of a batch. Records of a key may come again, but no record is left out.
func (p *processed) note(t *testing.T, batch *Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, record := range batch.Records {
		number, _ := strconv.Atoi(string(record.Data))
		known := p.records[record.PartitionKey]
		switch {
		case number < len(known):
			p.again++
		case number == len(known):
			p.records[record.PartitionKey] = append(known, number)
		default:
			t.Errorf("%s of %s: got %d after %d", record.PartitionKey, batch.ShardID, number, len(known)-1)
		}
	}
}

func (p *processed) wait(t *testing.T, written map[string]int) {
	t.Helper()
	total := 0
	for _, count := range written {
		total += count
	}
	for range 600 {
		if p.count() == total {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("processed %d of %d", p.count(), total)
}

func TestRealGroupSharesAStreamWhileMembersNodesAndShardsComeAndGo(t *testing.T) {
	c := startCluster(t)
	client, other := c.connect(), c.connect()
	createStream(t, client, streamName, 4)
	w := startWriter(t, client, streamName)
	p := &processed{records: map[string][]int{}}
	session := WithSession(3 * time.Second)
	first := p.join(t, client, session, WithMember("first"), WithDescription("a test"))
	time.Sleep(2 * time.Second)
	second := p.join(t, other, session)
	time.Sleep(3 * time.Second)
	reshard(t, client, streamName, 6)
	time.Sleep(2 * time.Second)

	first.group.mu.Lock()
	coordinator := c.node(first.group.coordinator.node)
	first.group.mu.Unlock()
	c.kill(coordinator)
	time.Sleep(5 * time.Second)
	c.restart(coordinator)
	reshard(t, client, streamName, 3)
	if err := first.group.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	first.task.Wait()
	time.Sleep(2 * time.Second)

	third := p.join(t, client, session)
	time.Sleep(2 * time.Second)
	// The second member is silent from now on, as if its program had crashed.
	other.Close()
	second.task.Wait()
	time.Sleep(time.Second)
	p.wait(t, w.stop())
	if err := third.group.Close(within(t, 20*time.Second)); err != nil {
		t.Error(err)
	}
	third.task.Wait()
	for _, m := range []*member{first, second, third} {
		if m.batches == 0 {
			t.Error("a member has got nothing")
		}
		t.Logf("%d batches, %d of lost shards", m.batches, m.lost)
	}
	t.Logf("%d records came again", p.again)
}
