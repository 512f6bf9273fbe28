package anabranch

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"anabranch/clients/go/internal/pb/logpb"
)

// A search finds the replica that can do what a call to a shard asks: nearly always the leader.
//
// Order of events: the node that led last is asked first. A node that refuses may name the leader, which is asked next.
// Without such a hint the replicas are asked in turn.
//
// A node that takes a call and never answers must not hold it for long. So an attempt is given up
//   - if another node is known to lead: an append asks the other replicas after a second;
//   - for calls that change nothing also after one second, and after two, four, and so on in later attempts.
//
// Never: an append that is on its way to a leader without a known successor is sent again.
type search struct {
	client *Client
	route  route
	began  time.Time
	warned time.Time
	// hint is the node to ask next; 0 for none.
	hint, asked uint64
	// followed counts the hints that were followed without a pause.
	followed int
	// turn says which replica is next when there is no hint.
	turn int
	// late counts the attempts that were given up because their time was over.
	late int
}

// route leads to the replicas of a shard.
type route struct {
	group uint64
	// nodes are the replicas if the catalog does not list the shard yet. Without them the shard is gone then.
	nodes []destination
}

// askedReplica says which replicas can answer a call.
type askedReplica int

const (
	// askLeader: only the leader.
	askLeader askedReplica = iota
	// askLeaderFirst: the leader, but any replica once no leader has been found for half a second.
	askLeaderFirst
	// askAny: any replica.
	askAny
)

// shardCall is a call to one shard.
type shardCall struct {
	asks   askedReplica
	writes bool
	// send makes the call to one node. With leaderOnly the replica must lead.
	send func(ctx context.Context, to *peerNode, leaderOnly bool) *failure
	// isFinal says that a failure ends the call. Nil means failure.isFinal, but that calls which change nothing wait until
	// they are not throttled any more.
	isFinal func(*failure) bool
}

const (
	// leaderPatience is how long a read insists on the leader.
	leaderPatience = 500 * time.Millisecond
	// probePause is between two questions whether another replica leads.
	probePause = 500 * time.Millisecond
	// readPatience is how long the first attempt of a call that changes nothing may take.
	readPatience = time.Second
	// writePatience is how long an append may take. Longer than the leader itself tries.
	writePatience = 15 * time.Second
	// A pause of a search is a quarter of the time that the search has taken, within these bounds. So a search finds a
	// new leader soon after its election, and a long search asks rarely.
	shortestPause = time.Millisecond
	longestPause  = 100 * time.Millisecond
	// warnEvery is how often a search that finds nothing is logged.
	warnEvery = 15 * time.Second
)

func (c *Client) search(to route) *search {
	now := time.Now()
	return &search{client: c, route: to, began: now, warned: now, hint: c.leaders.get(to.group)}
}

// run makes the call to one node after the other until one answers. Returns nil, the failure that ends the call, or an
// error that wraps the last failure, ErrUnavailable and the error of ctx. A shard that the catalog does not list any
// more is [ErrShardNotFound].
func (s *search) run(ctx context.Context, call shardCall) error {
	isFinal := call.isFinal
	if isFinal == nil {
		isFinal = func(f *failure) bool { return f.isFinal() && (call.writes || !f.is(failedThrottled)) }
	}
	for {
		nodes := s.nodes()
		if len(nodes) == 0 {
			return ErrShardNotFound
		}
		to := s.next(nodes)
		leaderOnly := call.asks == askLeader || call.asks == askLeaderFirst && time.Since(s.began) < leaderPatience
		f := s.attempt(ctx, call, to, leaderOnly)
		if f == nil {
			if leaderOnly {
				s.client.leaders.set(s.route.group, to.node)
			}
			return nil
		}
		if isFinal(f) {
			return f
		}
		// The node may hang, or lead no more: the next attempt and the next call shall not begin with it.
		s.client.leaders.forget(s.route.group, to.node)
		s.warn(f)
		if ctx.Err() != nil || !s.pause(ctx, f.leader, len(nodes)) {
			return ended(ctx, f)
		}
	}
}

// nodes returns where the replicas are, by the newest catalog, because replicas may have moved.
func (s *search) nodes() []destination {
	v := s.client.catalog.view()
	var nodes []destination
	for _, node := range v.holders[s.route.group] {
		if address := v.nodes[node]; address != "" {
			nodes = append(nodes, destination{node, address})
		}
	}
	if nodes == nil {
		return s.route.nodes
	}
	return nodes
}

// next returns the node to ask now: the hint if there is one, else the replicas in turn.
func (s *search) next(nodes []destination) destination {
	hint := s.hint
	s.hint = 0
	for _, to := range nodes {
		if hint != 0 && to.node == hint {
			s.asked = hint
			return to
		}
	}
	to := nodes[s.turn%len(nodes)]
	s.turn++
	s.asked = to.node
	return to
}

// attempt makes the call to one node and waits for the answer until the attempt is given up.
func (s *search) attempt(ctx context.Context, call shardCall, to destination, leaderOnly bool) *failure {
	patience := writePatience
	if !call.writes {
		patience = readPatience << min(s.late, 4)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if call.writes {
		probed := make(chan struct{})
		probe := time.AfterFunc(readPatience, func() {
			defer close(probed)
			s.probe(ctx, to.node)
			cancel()
		})
		defer func() {
			if !probe.Stop() {
				cancel()
				<-probed
			}
		}()
	}
	f := call.send(ctx, s.client.peer(to), leaderOnly)
	if f != nil && ctx.Err() == context.DeadlineExceeded {
		s.late++
	}
	return f
}

// probe asks the replicas on other nodes than asked whether one of them leads, until one does or ctx ends.
func (s *search) probe(ctx context.Context, asked uint64) {
	for {
		var questions sync.WaitGroup
		for _, to := range s.nodes() {
			if to.node == asked {
				continue
			}
			questions.Go(func() {
				// Only a leader that a majority follows answers this.
				latest := &logpb.SeekRequest_Latest{Latest: &logpb.Empty{}}
				request := &logpb.SeekRequest{Group: s.route.group, Start: latest, LeaderOnly: true}
				node := logpb.NewLogServiceClient(s.client.peer(to).calls)
				_, f := ask(ctx, probePause,
					func(ctx context.Context, options ...grpc.CallOption) (*logpb.SeekResponse, error) {
						return node.Seek(ctx, request, options...)
					})
				if f == nil {
					s.client.leaders.set(s.route.group, to.node)
				}
			})
		}
		questions.Wait()
		if leader := s.client.leaders.get(s.route.group); leader != 0 && leader != asked {
			return
		}
		if !sleep(ctx, probePause) {
			return
		}
	}
}

// pause waits before the next attempt: once every replica was asked, and once hints have led around, because nodes may
// name each other for a while. A leader that is not ready yet names itself: meanwhile others may answer a read. Returns
// false if ctx ends.
func (s *search) pause(ctx context.Context, hint uint64, replicas int) bool {
	if hint == 0 {
		hint = s.client.leaders.get(s.route.group)
	}
	if hint == s.asked {
		hint = 0
	}
	s.hint = hint
	if hint != 0 && s.followed < replicas {
		s.followed++
		return true
	}
	if hint == 0 && s.turn%replicas != 0 {
		return true
	}
	s.followed = 0
	return sleep(ctx, min(max(time.Since(s.began)/4, shortestPause), longestPause))
}

func (s *search) warn(f *failure) {
	if time.Since(s.warned) > warnEvery {
		s.warned = time.Now()
		s.client.log.Warn("no replica of the shard has answered", "group", s.route.group, "node", s.asked,
			"for", time.Since(s.began).Round(time.Second), "reason", f)
	}
}

// leaders remembers the node that led each group when the group was called last. It is a guess that the next call
// corrects.
type leaders struct {
	mu sync.Mutex
	of map[uint64]uint64
}

func (l *leaders) get(group uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[group]
}

func (l *leaders) set(group, node uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[group] = node
}

// forget forgets that node led group, unless another node is known to lead by now.
func (l *leaders) forget(group, node uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[group] == node {
		delete(l.of, group)
	}
}
