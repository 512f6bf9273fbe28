//! Users whose rights come and go. A removal counts as acknowledged when every node has the catalog that contains it;
//! from then on no gateway may allow the action.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use chaos_checkers::history::{Answer, Attempt, Attempted, Done, Grant, Revoke, StreamName};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::json;
use tokio::time::sleep;

use crate::admin::{AccessKey, Admin};
use crate::certificates::{Owner, connector};
use crate::kinesis::{Failure, Signer};
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::push::arn;

const STREAM: &str = "access";
const USERS: usize = 2;
/// Actions that policies allow, and the switch of the key itself.
const ACTIONS: [&str; 2] = ["DescribeStreamSummary", "ListShards"];
const KEY: &str = "key";
/// Longest time until all nodes have a change.
const EVERYWHERE: Duration = Duration::from_secs(5);

/// The workload. The keys are made before the clients begin.
#[derive(Default)]
pub(crate) struct Access {
    keys: Arc<OnceLock<Vec<AccessKey>>>,
}

#[async_trait]
impl Workload for Access {
    async fn prepare(&self, scene: &Scene, admin: &Admin) -> Result<()> {
        let mut session = scene.session("access prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 1).await?;
        let mut keys = Vec::new();
        for user in 0..USERS {
            keys.push(
                admin.create_user(&name(user)).await.context("a user of the workload access")?,
            );
        }
        // The second user can always do everything, except while its key is disabled.
        admin.put_policy(&name(1), "all", &policy("*")).await?;
        self.keys.get_or_init(|| keys);
        Ok(())
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let keys = self.keys.get().cloned().unwrap_or_default();
        let [policies, switched] = &keys[..] else { return Vec::new() };
        let signer = |key: &AccessKey| Signer::new(&key.id, &key.secret, Arc::clone(&scene.ahead));
        let mut clients = Vec::new();
        for number in 0..2 {
            let session = scene.session_as(signer(policies), "access attempts", number);
            clients.push(attempt_policies(session).boxed());
            let session = scene.session_as(signer(switched), "access key attempts", number);
            clients.push(attempt_key(session).boxed());
        }
        clients.push(change_policies(scene.session("access policies", 0)).boxed());
        clients.push(change_key(scene.session("access keys", 0), switched.clone()).boxed());
        clients
    }

    fn streams(&self) -> Vec<StreamName> {
        Vec::new()
    }
}

fn name(user: usize) -> String {
    format!("chaos-{user}")
}

fn policy(action: &str) -> String {
    let statement = json!({ "Effect": "Allow", "Action": format!("kinesis:{action}"), "Resource": arn(STREAM) });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

async fn attempt_policies(mut session: Session) {
    while session.scene.goes_on() {
        let action = ACTIONS[session.random.random_range(0..ACTIONS.len())];
        attempt(&mut session, 0, action, action).await;
    }
}

async fn attempt_key(mut session: Session) {
    while session.scene.goes_on() {
        attempt(&mut session, 1, KEY, "DescribeStreamSummary").await;
    }
}

/// Tries an operation. A refusal that is not about rights says nothing.
async fn attempt(session: &mut Session, user: usize, action: &str, operation: &str) {
    session.move_about();
    let call = Attempt { user: name(user), action: action.to_owned() };
    let body = json!({ "StreamName": STREAM });
    let _recorded = session
        .run(call, Answer::Attempt, async |connection| {
            match connection.call(operation, &body, None).await {
                Ok(_) => Ok(Attempted { allowed: true }),
                Err(Failure::Refused(why)) if is_denied(&why) => Ok(Attempted { allowed: false }),
                Err(failure) => Err(failure),
            }
        })
        .await;
    sleep(Duration::from_millis(40)).await;
}

fn is_denied(why: &str) -> bool {
    ["AccessDeniedException", "UnrecognizedClientException"]
        .iter()
        .any(|code| why.starts_with(code))
}

/// A change of rights.
enum Change {
    Grant,
    Revoke,
}

async fn change_policies(mut session: Session) {
    let Some(admin) = client_admin(&session.scene) else { return };
    while session.scene.goes_on() {
        let action = ACTIONS[session.random.random_range(0..ACTIONS.len())];
        let granted = async {
            admin.put_policy(&name(0), action, &policy(action)).await?;
            admin.everywhere(EVERYWHERE).await
        };
        change(&mut session, 0, action, Change::Grant, granted).await;
        let revoked = async {
            admin.delete_policy(&name(0), action).await?;
            admin.everywhere(EVERYWHERE).await
        };
        change(&mut session, 0, action, Change::Revoke, revoked).await;
    }
}

async fn change_key(mut session: Session, key: AccessKey) {
    let Some(admin) = client_admin(&session.scene) else { return };
    let set = async |enabled| {
        admin.enable_key(&key.id, enabled).await?;
        admin.everywhere(EVERYWHERE).await
    };
    change(&mut session, 1, KEY, Change::Grant, set(true)).await;
    while session.scene.goes_on() {
        change(&mut session, 1, KEY, Change::Revoke, set(false)).await;
        change(&mut session, 1, KEY, Change::Grant, set(true)).await;
    }
}

fn client_admin(scene: &Scene) -> Option<Admin> {
    let connector = connector(scene.certificates.as_ref(), Owner::Operator).ok()?;
    Admin::new(scene.gateways.iter().copied(), scene.network, &connector).ok()
}

/// Makes a change, and waits a while. A change that fails may have been done all the same.
async fn change(
    session: &mut Session,
    user: usize,
    action: &str,
    change: Change,
    work: impl Future<Output = Result<()>>,
) {
    let (user, action) = (name(user), action.to_owned());
    let work = async {
        work.await.map(|()| Done {}).map_err(|error| Failure::Unknown(format!("{error:#}")))
    };
    // The history has the outcome.
    let _recorded = match change {
        Change::Grant => session.run_native(Grant { user, action }, Answer::Grant, work).await,
        Change::Revoke => session.run_native(Revoke { user, action }, Answer::Revoke, work).await,
    };
    let pause = session.random.random_range(200..900);
    sleep(Duration::from_millis(pause)).await;
}
