//! Which nodes a search asks, in which order and with which pauses, and when an attempt is given up.

use std::sync::Arc;

use anabranch_catalog::{Catalog, Command, NodeCommand, Replica, StreamCommand, samples};
use anabranch_transport::TcpConnector;
use anabranch_types::ReplicaId;

use super::*;
use crate::client::Client;

/// A client that knows a stream with one shard on nodes 1 to 3, and the route to the shard.
fn client() -> (Client, Arc<ShardRoute>) {
    let mut catalog = Catalog::bootstrap(&[Replica { id: ReplicaId(1), node: NodeId(1) }]);
    let register = |node| Command::Node(NodeCommand::Register(samples::registration(node)));
    let nodes = (1..=3).map(register);
    let new = samples::new_stream("stream", 1);
    let name = new.name.clone();
    let stream = Command::Stream(StreamCommand::Create(new));
    for (index, command) in (1..).zip(nodes.chain([stream])) {
        catalog.apply(index, command);
    }
    let client = Client::new(None, Arc::new(TcpConnector), Vec::new());
    client.inner.catalog.publish(catalog);
    let view = client.view();
    let stream = view.stream(&name).unwrap();
    let shard = *stream.stream.shards.keys().next().unwrap();
    let route = Arc::clone(stream.shard(shard).unwrap());
    (client, route)
}

/// The nodes that are asked, if each answers with the hint that `hint` gives, and how long that takes.
async fn asked(turns: usize, hint: impl Fn(NodeId) -> Option<NodeId>) -> (Vec<u64>, Duration) {
    let (client, route) = client();
    let began = Instant::now();
    let mut search = Search::new(&client.inner, &route);
    let mut asked = Vec::new();
    for _ in 0..turns {
        let node = search.next();
        asked.push(node.0);
        assert!(search.again(&hint(node)).await);
    }
    (asked, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_every_replica_is_asked_before_a_pause() {
    assert_eq!(asked(3, |_| None).await, (vec![1, 2, 3], SHORTEST_PAUSE));
    assert_eq!(asked(6, |_| None).await, (vec![1, 2, 3, 1, 2, 3], 2 * SHORTEST_PAUSE));
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once() {
    let hint = |node: NodeId| Some(NodeId(node.0 + 1)).filter(|hint| hint.0 <= 3);
    assert_eq!(asked(2, hint).await, (vec![1, 2], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_names_itself_is_asked_again_after_a_pause() {
    // The node was elected and has not applied the older entries yet. In this process it answers at once.
    assert_eq!(asked(4, Some).await, (vec![1, 1, 1, 1], 4 * SHORTEST_PAUSE));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_name_each_other_do_not_keep_the_search_busy() {
    let (asked, took) = asked(40, |node| Some(NodeId(3 - node.0))).await;
    assert_eq!(asked[..4], [1, 2, 1, 2]);
    assert!(took >= 10 * SHORTEST_PAUSE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_search_finds_a_new_leader_soon_and_asks_rarely_when_it_is_long() {
    let (client, route) = client();
    for came_after in [5, 20, 80].map(Duration::from_millis) {
        let mut search = Search::new(&client.inner, &route);
        while search.began.elapsed() < came_after {
            assert!(search.again(&None).await);
        }
        let late = search.began.elapsed() - came_after;
        assert!(late <= came_after / PAUSE_PART + SHORTEST_PAUSE, "{late:?} after {came_after:?}");
    }
    let (asked, took) = asked(1800, |_| None).await;
    let longest_pauses = took.as_millis() / LONGEST_PAUSE.as_millis();
    assert!(asked.len() as u128 / 3 <= 50 + longest_pauses, "{took:?}");
}

/// How long an attempt at a node that never answers takes.
async fn given_up_after(search: &mut Search<'_>, effect: Effect) -> Duration {
    let began = Instant::now();
    let attempt = search.attempt(NodeId(1), effect, std::future::pending::<Result<(), _>>());
    assert!(matches!(attempt.await, Err(CallError::Unknown(_))));
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_read_without_a_response_is_given_up_after_a_time_that_doubles() {
    let (client, route) = client();
    let mut search = Search::new(&client.inner, &route);
    for seconds in [1, 2, 4] {
        assert_eq!(given_up_after(&mut search, Effect::Reads).await.as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_waits_for_its_leader_as_long_as_no_other_node_leads() {
    let (client, route) = client();
    let mut search = Search::new(&client.inner, &route);
    let answer = async {
        sleep(Duration::from_secs(9)).await;
        Ok(7)
    };
    assert_eq!(search.attempt(NodeId(1), Effect::Writes, answer).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn an_append_is_given_up_once_another_node_leads() {
    let (client, route) = client();
    let mut search = Search::new(&client.inner, &route);
    search.found(NodeId(1));
    let other_call = async {
        sleep(Duration::from_millis(250)).await;
        Search::new(&client.inner, &route).found(NodeId(2));
    };
    let (took, ()) = tokio::join!(given_up_after(&mut search, Effect::Writes), other_call);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(Search::new(&client.inner, &route).next(), NodeId(2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gave_no_response_is_forgotten_as_the_leader() {
    let (client, route) = client();
    Search::new(&client.inner, &route).found(NodeId(2));
    let mut search = Search::new(&client.inner, &route);
    assert_eq!(search.next(), NodeId(2));
    let broken = async { Err::<(), _>(CallError::Unknown("the connection broke".into())) };
    assert!(search.attempt(NodeId(2), Effect::Writes, broken).await.is_err());
    assert_eq!(Search::new(&client.inner, &route).next(), NodeId(1));
}
