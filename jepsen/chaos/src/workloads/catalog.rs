//! Registers and sets that live in the catalog: tags and resource policies of a stream, and the streams themselves.
//!
//! A key is used for a few dozen calls, then the next one begins, because the search for a linear order grows with the
//! number of calls whose outcome is unknown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::{
    AddMember, Answer, Done, ListSet, Members, Read, ReadValue, RemoveMember, StreamName, Write,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::admin::Admin;
use crate::kinesis::{Connection, Failure};
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::push::arn;
use crate::workloads::turns::Turns;

const STREAM: &str = "catalog";
const CLIENTS: u64 = 3;
/// Members that a set may have.
const MEMBERS: u32 = 3;
/// Longest time until a deleted stream is gone.
const GONE: Duration = Duration::from_secs(4);

/// The workload.
pub(crate) struct CatalogWork;

#[async_trait]
impl Workload for CatalogWork {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("catalog prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 1).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let mut clients = Vec::new();
        let (tags, streams) = (Arc::new(Turns::default()), Arc::new(Turns::default()));
        for number in 0..CLIENTS {
            clients
                .push(use_tags(scene.session("catalog tags", number), Arc::clone(&tags)).boxed());
            clients.push(use_policy(scene.session("catalog policy", number)).boxed());
            clients.push(
                use_streams(
                    scene.session("catalog set", number),
                    Arc::clone(&streams),
                    number == 0,
                )
                .boxed(),
            );
        }
        clients
    }

    fn streams(&self) -> Vec<StreamName> {
        Vec::new()
    }
}

async fn pause(session: &mut Session) {
    let pause = session.random.random_range(20..120);
    sleep(Duration::from_millis(pause)).await;
}

async fn use_tags(mut session: Session, turns: Arc<Turns>) {
    while session.scene.goes_on() {
        session.move_about();
        let key = format!("tag-{}", turns.current());
        let register = key.clone();
        match session.random.random_range(0..10) {
            0..5 => {
                let read = session
                    .run(Read { register }, Answer::Read, async |connection| {
                        let body = json!({ "StreamName": STREAM, "ExclusiveStartTagKey": before(&key), "Limit": 2 });
                        let answer = connection.call("ListTagsForStream", &body, None).await?;
                        let tags = answer["Tags"].as_array().into_iter().flatten();
                        let mut tags = tags.filter(|tag| tag["Key"] == *key);
                        Ok(ReadValue { value: tags.next().and_then(|tag| text(&tag["Value"])) })
                    })
                    .await;
                turns.count(&read);
            }
            5..9 => {
                let value = session.random.random::<u32>().to_string();
                let body = json!({ "StreamName": STREAM, "Tags": { &key: &value } });
                let write = Write { register, value: Some(value) };
                turns.count(&write_with(&mut session, write, "AddTagsToStream", &body).await);
            }
            _ => {
                let body = json!({ "StreamName": STREAM, "TagKeys": [key] });
                let write = Write { register, value: None };
                turns.count(&write_with(&mut session, write, "RemoveTagsFromStream", &body).await);
            }
        }
        pause(&mut session).await;
    }
}

/// A text just before `key` in the order of texts, so that a list begins with the key.
fn before(key: &str) -> String {
    let mut before = key.to_owned();
    let last = before.pop();
    if let Some(last) = last.and_then(|last| char::from_u32(last as u32 - 1)) {
        before.push(last);
        before.push('~');
    }
    before
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

async fn write_with(
    session: &mut Session,
    write: Write,
    operation: &str,
    body: &Value,
) -> Result<Done, Failure> {
    session
        .run(write, Answer::Write, async |connection| {
            connection.call(operation, body, None).await.map(|_nothing| Done {})
        })
        .await
}

/// The resource policy of the stream as a register: its value is the Sid.
async fn use_policy(mut session: Session) {
    let arn = arn(STREAM);
    while session.scene.goes_on() {
        session.move_about();
        let register = "policy".to_owned();
        // The history has the outcomes.
        if session.random.random() {
            let _recorded = session
                .run(Read { register }, Answer::Read, async |connection| {
                    let body = json!({ "ResourceARN": arn });
                    let answer = connection.call("GetResourcePolicy", &body, None).await?;
                    Ok(ReadValue { value: value_of_policy(&answer) })
                })
                .await;
        } else {
            let value = session.random.random::<u32>().to_string();
            let body = json!({ "ResourceARN": arn, "Policy": policy(&value) });
            let write = Write { register, value: Some(value) };
            let _recorded = write_with(&mut session, write, "PutResourcePolicy", &body).await;
        }
        pause(&mut session).await;
    }
}

fn policy(value: &str) -> String {
    let statement = json!({
        "Sid": value,
        "Effect": "Allow",
        "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
        "Action": "kinesis:DescribeStreamSummary",
        "Resource": arn(STREAM),
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

fn value_of_policy(answer: &Value) -> Option<String> {
    let document: Value = serde_json::from_str(answer["Policy"].as_str()?).ok()?;
    text(&document["Statement"][0]["Sid"])
}

/// Streams as members of a set: CreateStream adds, DeleteStream removes, ListStreams lists. Only one client removes:
/// DeleteStream of a stream that is being deleted succeeds too, and then two calls would remove one member.
async fn use_streams(mut session: Session, turns: Arc<Turns>, removes: bool) {
    let mut turn = turns.current();
    while session.scene.goes_on() {
        session.move_about();
        if removes && turn != turns.current() {
            remove_all(&mut session, &format!("set-{turn}-")).await;
            turn = turns.current();
        }
        let set = format!("set-{}-", turns.current());
        let member = session.random.random_range(0..MEMBERS).to_string();
        let stream = format!("{set}{member}");
        match session.random.random_range(0..if removes { 12 } else { 8 }) {
            0..5 => {
                let list = ListSet { set: set.clone() };
                let listed = session
                    .run(list, Answer::List, async |connection| {
                        list_streams(connection, &set).await
                    })
                    .await;
                turns.count(&listed);
            }
            5..8 => {
                let add = AddMember { set, member };
                let added = session
                    .run(add, Answer::Add, async |connection| create(connection, &stream).await)
                    .await;
                turns.count(&added);
            }
            _ => turns.count(&remove(&mut session, &set, &member).await),
        }
        pause(&mut session).await;
    }
}

/// Removes what is left of a set that is used no more, so that the catalog does not grow.
async fn remove_all(session: &mut Session, set: &str) {
    for member in 0..MEMBERS {
        // The history has the outcome.
        let _recorded = remove(session, set, &member.to_string()).await;
    }
}

async fn remove(session: &mut Session, set: &str, member: &str) -> Result<Done, Failure> {
    let stream = format!("{set}{member}");
    let remove = RemoveMember { set: set.to_owned(), member: member.to_owned() };
    session.run(remove, Answer::Remove, async |connection| delete(connection, &stream).await).await
}

async fn list_streams(connection: &mut Connection, prefix: &str) -> Result<Members, Failure> {
    let body = json!({ "ExclusiveStartStreamName": prefix, "Limit": 100 });
    let answer = connection.call("ListStreams", &body, None).await?;
    let names = answer["StreamNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let members = names.filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned);
    Ok(Members { members: members.collect() })
}

async fn create(connection: &mut Connection, stream: &str) -> Result<Done, Failure> {
    let body = json!({ "StreamName": stream, "ShardCount": 1 });
    match connection.call("CreateStream", &body, None).await {
        Ok(_) => Ok(Done {}),
        Err(Failure::Refused(why)) if why.starts_with("ResourceInUse") => {
            Err(Failure::Refused("exists".into()))
        }
        Err(failure) => Err(failure),
    }
}

/// Deletes a stream and waits until it is gone, because a stream that is being deleted is still listed.
async fn delete(connection: &mut Connection, stream: &str) -> Result<Done, Failure> {
    let body = json!({ "StreamName": stream });
    match connection.call("DeleteStream", &body, None).await {
        Ok(_) => {}
        Err(Failure::Refused(why)) if why.starts_with("ResourceNotFound") => {
            return Err(Failure::Refused("absent".into()));
        }
        Err(failure) => return Err(failure),
    }
    let deadline = Instant::now() + GONE;
    loop {
        match connection.call("DescribeStreamSummary", &body, None).await {
            Err(Failure::Refused(why)) if why.starts_with("ResourceNotFound") => {
                return Ok(Done {});
            }
            _ if Instant::now() > deadline => {
                return Err(Failure::Unknown("the stream is not gone yet".into()));
            }
            _ => sleep(Duration::from_millis(30)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_begins_before_a_key_begins_with_the_key() {
        for key in ["tag-0", "tag-9", "tag-10"] {
            assert!(*before(key) < *key, "{}", before(key));
        }
        assert!(*before("tag-5") > *"tag-4");
    }

    #[test]
    fn a_policy_carries_the_value_of_its_register() {
        let answer = json!({ "Policy": policy("123") });
        assert_eq!(value_of_policy(&answer), Some("123".into()));
        assert_eq!(value_of_policy(&json!({})), None);
    }
}
