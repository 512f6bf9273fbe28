//! Tests of a gateway that requires authentication: which callers are accepted, and which calls policies allow.

use std::time::Duration;

use anabranch_access::signature::{self, Credentials, Signer};
use anabranch_access::{Secret, SecretSealer, Session};
use anabranch_catalog::UserCommand;
use anabranch_client::Cluster as _;
use anabranch_gateway::{Authentication, GatewaySettings};
use anabranch_types::{Clock, Timestamp};
use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::{JSON, Response, Server, gzip, settings, start_with};

const OWN: &str = "000000000000";
const OTHER: &str = "222222222222";
const ORDERS: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"kinesis:*","Resource":"*"}}"#;

/// A gateway that requires authentication, with a root user and a stream `orders`.
pub(crate) async fn start() -> (Server, Client) {
    start_required(settings()).await
}

/// Like [`start`], with other settings.
pub(crate) async fn start_required(mut settings: GatewaySettings) -> (Server, Client) {
    settings.authentication = Authentication::Required;
    let server = start_with(settings, |gateway| gateway).await;
    let root = server.user("root", OWN).await;
    root.ok(&server, "CreateStream", json!({"StreamName": "orders", "ShardCount": 1})).await;
    server.cluster.activate();
    (server, root)
}

/// A client with credentials.
pub(crate) struct Client(pub(crate) Credentials);

impl Server {
    async fn user(&self, name: &str, account: &str) -> Client {
        let user: anabranch_types::UserName = name.parse().unwrap();
        let now = self.clock.now();
        let account = account.parse().unwrap();
        self.tell(UserCommand::Create { name: user.clone(), account, now }).await;
        let (id, secret) = (format!("AKIA{name:A<16}"), format!("secret of {name}"));
        let sealed_secret = sealer().seal(&id, &secret, [1; 12]);
        let key = UserCommand::CreateAccessKey { user, id: id.clone(), sealed_secret, now };
        self.tell(key).await;
        Client(Credentials { key_id: id, secret, token: None })
    }

    /// Attaches a policy to a user.
    async fn allow(&self, name: &str, policy: &str) {
        let (user, name) = (name.parse().unwrap(), "p".to_owned());
        self.tell(UserCommand::PutPolicy { user, name, document: policy.to_owned() }).await;
    }

    async fn tell(&self, command: UserCommand) {
        self.cluster.propose(command.into()).await.unwrap();
    }
}

fn sealer() -> SecretSealer {
    SecretSealer::new(&[7; 32])
}

impl Client {
    /// Sends a request that is signed at `now`.
    async fn call_at(
        &self,
        server: &Server,
        now: Timestamp,
        operation: &str,
        body: Value,
    ) -> Response {
        let body = serde_json::to_vec(&body).unwrap();
        self.post(server, now, operation, &[], &body, body.clone()).await
    }

    /// Sends a request with further headers. Its signature covers the body `signed`.
    async fn post(
        &self,
        server: &Server,
        now: Timestamp,
        operation: &str,
        headers: &[(&str, &str)],
        signed: &[u8],
        sent: Vec<u8>,
    ) -> Response {
        let (target, host) = (format!("Kinesis_20131202.{operation}"), server.address.to_string());
        let own = [("host", host.as_str()), ("content-type", JSON), ("x-amz-target", &target)];
        let mut all = [&own[..], headers].concat();
        let headers = all.iter().map(|(name, value)| (*name, value.as_bytes()));
        let request =
            signature::Request { method: "POST", path: "/", query: "", headers, body: signed };
        let signer = Signer::new(self.0.clone(), "eu-west-1", "kinesis");
        let signed = signer.sign(&request, now);
        all.extend([("authorization", &*signed.authorization), ("x-amz-date", &signed.date)]);
        all.extend(signed.token.as_deref().map(|token| ("x-amz-security-token", token)));
        let response = server.request(Method::POST, "/", &all, sent).await;
        assert!(response.headers.contains_key("date"), "SDKs correct their clocks with it");
        response
    }

    pub(crate) async fn call(&self, server: &Server, operation: &str, body: Value) -> Response {
        self.call_at(server, server.clock.now(), operation, body).await
    }

    async fn ok(&self, server: &Server, operation: &str, body: Value) -> Value {
        let response = self.call(server, operation, body).await;
        assert_eq!(response.status, StatusCode::OK, "{operation}: {response:?}");
        response.json()
    }

    async fn error(&self, server: &Server, operation: &str, body: Value) -> (String, String) {
        let response = self.call(server, operation, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{operation}: {response:?}");
        response.error()
    }

    /// Sends a call that policies must deny. Returns the message.
    async fn denied(&self, server: &Server, operation: &str, body: Value) -> String {
        let (code, message) = self.error(server, operation, body).await;
        assert_eq!(code, "AccessDeniedException", "{message}");
        message
    }
}

pub(crate) fn record() -> Value {
    json!({"StreamName": "orders", "Data": "AAEC", "PartitionKey": "k"})
}

fn record_by_arn() -> Value {
    json!({"StreamARN": ORDERS, "Data": "AAEC", "PartitionKey": "k"})
}

#[tokio::test]
async fn a_retry_is_recognised_only_from_the_same_user() {
    let (server, root) = start().await;
    let ann = server.user("ann", OWN).await;
    server.allow("ann", ALL).await;
    let body = serde_json::to_vec(&record()).unwrap();
    let put = async |client: &Client| {
        let id = [("amz-sdk-invocation-id", "fixed")];
        let now = server.clock.now();
        let response = client.post(&server, now, "PutRecord", &id, &body, body.clone()).await;
        response.json()["SequenceNumber"].as_str().unwrap().to_owned()
    };
    let first = put(&root).await;
    assert_ne!(put(&ann).await, first);
    assert_eq!(put(&root).await, first);
}

#[tokio::test]
async fn the_signature_of_a_gzip_body_covers_the_compressed_bytes() {
    let (server, root) = start().await;
    let plain = serde_json::to_vec(&record()).unwrap();
    let compressed = gzip(&plain);
    let post = async |signed: &[u8], sent: &[u8]| {
        let encoding = [("content-encoding", "gzip")];
        root.post(&server, server.clock.now(), "PutRecord", &encoding, signed, sent.to_vec()).await
    };
    assert_eq!(post(&compressed, &compressed).await.status, StatusCode::OK);
    // Another time of compression in the gzip head: the same content, but other bytes.
    let mut later = compressed.clone();
    later[4] ^= 1;
    assert_eq!(post(&later, &later).await.status, StatusCode::OK);
    for (signed, sent) in [(&plain, &compressed), (&compressed, &later)] {
        assert_eq!(post(signed, sent).await.error().0, "InvalidSignatureException");
    }
}

#[tokio::test]
async fn nothing_is_inflated_for_a_caller_with_an_invalid_signature() {
    let (server, root) = start().await;
    let wrong = Client(Credentials { secret: "guess".into(), ..root.0.clone() });
    let encoding = [("content-encoding", "gzip")];
    let body = b"no gzip at all";
    for (client, code) in [(&wrong, "InvalidSignatureException"), (&root, "SerializationException")]
    {
        let now = server.clock.now();
        let refused = client.post(&server, now, "PutRecord", &encoding, body, body.to_vec()).await;
        assert_eq!(refused.error().0, code);
    }
}

#[tokio::test]
async fn only_a_caller_with_the_secret_is_accepted() {
    let (server, root) = start().await;
    root.ok(&server, "PutRecord", record()).await;
    let wrong = Client(Credentials { secret: "guess".into(), ..root.0.clone() });
    let (code, message) = wrong.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with("The request signature we calculated does not match"), "{message}");
    let unknown = Client(Credentials { key_id: "AKIAUNKNOWN".into(), ..root.0.clone() });
    let (code, message) = unknown.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "UnrecognizedClientException");
    assert_eq!(message, "The security token included in the request is invalid.");
    // A signature that is made up, and no signature.
    let body = serde_json::to_vec(&record()).unwrap();
    let response = server.post("PutRecord", &[], JSON, body).await;
    assert_eq!(response.error().0, "InvalidSignatureException");
    let (path, headers) =
        ("/", [("content-type", JSON), ("x-amz-target", "Kinesis_20131202.ListStreams")]);
    let response = server.request(Method::POST, path, &headers, b"{}".to_vec()).await;
    assert_eq!(response.error().0, "MissingAuthenticationTokenException");
    assert!(response.headers.contains_key("date"));
    let response = server.request(Method::GET, "/cluster", &[], Vec::new()).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN, "the report names streams");
}

#[tokio::test]
async fn a_request_of_a_client_with_a_wrong_clock_is_refused_with_the_reason() {
    let (server, root) = start().await;
    let now = server.clock.now();
    let early = now.minus(Duration::from_secs(600));
    let (code, message) = root.call_at(&server, early, "ListStreams", json!({})).await.error();
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with("Signature expired: 20270115T075000Z is now earlier"), "{message}");
    let late = now.plus(Duration::from_secs(600));
    let (code, message) = root.call_at(&server, late, "ListStreams", json!({})).await.error();
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.starts_with("Signature not yet current: "), "{message}");
}

#[tokio::test]
async fn a_disabled_or_deleted_key_is_unknown() {
    let (server, root) = start().await;
    let id = root.0.key_id.clone();
    server.tell(UserCommand::SetAccessKey { id: id.clone(), enabled: false }).await;
    let (code, _) = root.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "UnrecognizedClientException");
    server.tell(UserCommand::SetAccessKey { id: id.clone(), enabled: true }).await;
    root.ok(&server, "PutRecord", record()).await;
    server.tell(UserCommand::DeleteAccessKey { id }).await;
    let (code, _) = root.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "UnrecognizedClientException");
}

#[tokio::test]
async fn a_user_that_another_node_created_a_moment_ago_is_known() {
    let (server, root) = start().await;
    let before = server.cluster.view();
    let ann = server.user("ann", OWN).await;
    server.cluster.show(before.clone());
    let message = ann.denied(&server, "PutRecord", record()).await;
    assert!(message.contains("no identity-based policy"), "{message}");
    server.allow("ann", ALL).await;
    server.cluster.show(before);
    ann.ok(&server, "PutRecord", record()).await;
    root.ok(&server, "PutRecord", record()).await;
}

#[tokio::test]
async fn without_a_response_of_the_catalog_the_first_decision_is_final() {
    let (server, root) = start().await;
    let ann = server.user("ann", OWN).await;
    server.cluster.silence(true);
    let unknown = Client(Credentials { key_id: "AKIAUNKNOWN".into(), ..root.0.clone() });
    let calls = (0..50).map(|_| unknown.error(&server, "PutRecord", record()));
    for (code, _) in join_all(calls).await {
        assert_eq!(code, "UnrecognizedClientException");
    }
    let message = ann.denied(&server, "PutRecord", record()).await;
    assert!(message.contains("no identity-based policy"), "{message}");
    root.ok(&server, "PutRecord", record()).await;
    // The catalog responds again, and the gateway asks it again.
    let before = server.cluster.view();
    server.allow("ann", ALL).await;
    server.cluster.show(before);
    server.cluster.silence(false);
    ann.ok(&server, "PutRecord", record()).await;
}

#[tokio::test]
async fn temporary_credentials_end_with_their_time_and_with_their_user() {
    let (server, _) = start().await;
    server.user("ann", OWN).await;
    server.allow("ann", ALL).await;
    let session = Session {
        user: "ann".parse().unwrap(),
        user_created: server.clock.now(),
        key_id: "ASIAAAAABBBBCCCCDDDD".into(),
        secret: Secret::new("temporary"),
        issued: server.clock.now(),
        expires: server.clock.now().plus(Duration::from_secs(900)),
    };
    let token = sealer().seal_session(&session, [3; 12]);
    let credentials = Credentials {
        key_id: session.key_id.clone(),
        secret: "temporary".into(),
        token: Some(token.clone()),
    };
    let temporary = Client(credentials.clone());
    temporary.ok(&server, "PutRecord", record()).await;
    temporary.ok(&server, "PutRecord", record()).await;
    for wrong in [
        Credentials { token: None, ..credentials.clone() },
        Credentials { token: Some(token.replace('A', "B")), ..credentials.clone() },
        Credentials { key_id: "ASIAOTHER".into(), ..credentials.clone() },
    ] {
        let (code, _) = Client(wrong).error(&server, "PutRecord", record()).await;
        assert_eq!(code, "UnrecognizedClientException");
    }
    server.clock.advance(Duration::from_secs(900));
    let (code, message) = temporary.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "ExpiredTokenException");
    assert_eq!(message, "The security token included in the request is expired");
    let longer = Session { expires: session.expires.plus(Duration::from_secs(900)), ..session };
    let token = Some(sealer().seal_session(&longer, [4; 12]));
    let longer = Client(Credentials { token, ..credentials });
    longer.ok(&server, "PutRecord", record()).await;
    server.tell(UserCommand::Delete { name: "ann".parse().unwrap() }).await;
    let (code, _) = longer.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "UnrecognizedClientException");
    let namesake = server.user("ann", OWN).await;
    server.allow("ann", ALL).await;
    namesake.ok(&server, "PutRecord", record()).await;
    let (code, _) = longer.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "UnrecognizedClientException", "the user with this name is another user now");
}

#[tokio::test]
async fn user_policies_decide_by_operation_and_stream() {
    let (server, root) = start().await;
    root.ok(&server, "CreateStream", json!({"StreamName": "other", "ShardCount": 1})).await;
    server.cluster.activate();
    let ann = server.user("ann", OWN).await;
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kinesis:Put*", "kinesis:GetShardIterator", "kinesis:GetRecords"],
         "Resource": "arn:aws:kinesis:*:*:stream/ord*"},
        {"Effect": "Deny", "Action": "kinesis:PutRecords", "Resource": "*"},
    ]});
    server.allow("ann", &policy.to_string()).await;
    ann.ok(&server, "PutRecord", record()).await;
    ann.ok(&server, "PutRecord", record_by_arn()).await;
    let message = ann.denied(&server, "DescribeStream", json!({"StreamName": "orders"})).await;
    assert_eq!(
        message,
        format!(
            "User: arn:aws:iam::{OWN}:user/ann is not authorized to perform: kinesis:DescribeStream on \
             resource: {ORDERS} because no identity-based policy allows the kinesis:DescribeStream action"
        )
    );
    let records = json!({"StreamName": "orders", "Records": [{"Data": "", "PartitionKey": "k"}]});
    let message = ann.denied(&server, "PutRecords", records).await;
    assert!(message.ends_with("with an explicit deny in an identity-based policy"), "{message}");
    let elsewhere = json!({"StreamName": "other", "Data": "", "PartitionKey": "k"});
    ann.denied(&server, "PutRecord", elsewhere).await;
    let message = ann.denied(&server, "ListStreams", json!({})).await;
    assert!(message.contains("on resource: * because"), "{message}");
    // An iterator names its stream.
    let start = |stream: &str| json!({"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = ann.ok(&server, "GetShardIterator", start("orders")).await;
    ann.ok(&server, "GetRecords", iterator).await;
    let iterator = root.ok(&server, "GetShardIterator", start("other")).await;
    ann.denied(&server, "GetRecords", iterator).await;
    // An ARN with another region names the same stream.
    let spelled = ORDERS.replace("us-east-1", "eu-west-1");
    ann.denied(&server, "DescribeStream", json!({"StreamARN": spelled})).await;
    // A caller without permission does not learn whether a stream exists.
    ann.denied(&server, "DescribeStream", json!({"StreamName": "nothing"})).await;
    let (code, _) = root.error(&server, "DescribeStream", json!({"StreamName": "nothing"})).await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn constraints_are_checked_before_policies_and_signatures_before_types() {
    let (server, root) = start().await;
    let ann = server.user("ann", OWN).await;
    let (code, _) = ann.error(&server, "PutRecord", json!({"StreamName": "orders"})).await;
    assert_eq!(code, "ValidationException");
    let wrong = Client(Credentials { secret: "guess".into(), ..root.0.clone() });
    let (code, _) = wrong.error(&server, "PutRecord", json!({"StreamName": 1})).await;
    assert_eq!(code, "InvalidSignatureException");
    let (code, _) = root.error(&server, "PutRecord", json!({"StreamName": 1})).await;
    assert_eq!(code, "SerializationException");
}

#[tokio::test]
async fn a_caller_of_another_account_needs_both_policies_and_the_arn_of_the_stream() {
    let (server, root) = start().await;
    let bob = server.user("bob", OTHER).await;
    server.allow("bob", ALL).await;
    let message = bob.denied(&server, "PutRecord", record_by_arn()).await;
    assert!(
        message.ends_with("because no resource-based policy allows the kinesis:PutRecord action")
    );
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{OTHER}:root")},
        "Action": ["kinesis:PutRecord", "kinesis:DescribeStreamSummary"], "Resource": ORDERS,
    }]});
    let put = json!({"ResourceARN": ORDERS, "Policy": policy.to_string()});
    root.ok(&server, "PutResourcePolicy", put).await;
    bob.ok(&server, "PutRecord", record_by_arn()).await;
    bob.denied(&server, "DescribeStream", json!({"StreamARN": ORDERS})).await;
    bob.denied(&server, "ListStreams", json!({})).await;
    // The bare name means a stream of the caller's account.
    let (code, message) = bob.error(&server, "PutRecord", record()).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert!(message.contains(OTHER), "{message}");
    let deny = policy.to_string().replace("Allow", "Deny");
    root.ok(&server, "PutResourcePolicy", json!({"ResourceARN": ORDERS, "Policy": deny})).await;
    let message = bob.denied(&server, "PutRecord", record_by_arn()).await;
    assert!(message.ends_with("with an explicit deny in a resource-based policy"), "{message}");
}

#[tokio::test]
async fn the_policy_of_a_consumer_applies_to_the_consumer() {
    let (server, root) = start().await;
    let registered = root
        .ok(&server, "RegisterStreamConsumer", json!({"StreamARN": ORDERS, "ConsumerName": "app"}))
        .await;
    let consumer = registered["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned();
    let bob = server.user("bob", OTHER).await;
    server.allow("bob", ALL).await;
    let describe = json!({"ConsumerARN": consumer});
    bob.denied(&server, "DescribeStreamConsumer", describe.clone()).await;
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"AWS": OTHER},
        "Action": ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"], "Resource": consumer,
    }});
    let put = json!({"ResourceARN": consumer, "Policy": policy.to_string()});
    root.ok(&server, "PutResourcePolicy", put).await;
    bob.ok(&server, "DescribeStreamConsumer", describe).await;
    let by_name = json!({"StreamARN": ORDERS, "ConsumerName": "app"});
    bob.ok(&server, "DescribeStreamConsumer", by_name.clone()).await;
    bob.denied(&server, "DeregisterStreamConsumer", by_name).await;
    bob.denied(&server, "PutRecord", record_by_arn()).await;
}

#[tokio::test]
async fn conditions_can_test_the_connection_tags_and_time() {
    let (server, root) = start().await;
    let ann = server.user("ann", OWN).await;
    let tag = |value: &str| json!({"ResourceARN": ORDERS, "Tags": {"team": value}});
    root.ok(&server, "TagResource", tag("red")).await;
    let with = |condition: Value| {
        json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kinesis:*", "Resource": "*", "Condition": condition}})
        .to_string()
    };
    for condition in [
        json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
        json!({"StringEquals": {"aws:ResourceTag/team": "red"}}),
        json!({"Bool": {"aws:SecureTransport": "false"}}),
        json!({"DateLessThan": {"aws:CurrentTime": "2027-01-15T08:00:01Z"}}),
        json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/ann"}}),
    ] {
        server.allow("ann", &with(condition)).await;
        ann.ok(&server, "PutRecord", record()).await;
    }
    for condition in [
        json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        json!({"StringEquals": {"aws:ResourceTag/team": "blue"}}),
        json!({"Bool": {"aws:SecureTransport": "true"}}),
    ] {
        server.allow("ann", &with(condition)).await;
        ann.denied(&server, "PutRecord", record()).await;
    }
    server.allow("ann", &with(json!({"StringEquals": {"aws:RequestTag/team": "blue"}}))).await;
    ann.denied(&server, "TagResource", tag("green")).await;
    ann.ok(&server, "TagResource", tag("blue")).await;
    server
        .allow("ann", &with(json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}})))
        .await;
    ann.denied(&server, "UntagResource", json!({"ResourceARN": ORDERS, "TagKeys": ["team", "x"]}))
        .await;
    ann.ok(&server, "UntagResource", json!({"ResourceARN": ORDERS, "TagKeys": ["team"]})).await;
}

#[tokio::test]
async fn invalid_policies_of_streams_are_refused() {
    let (server, root) = start().await;
    for (policy, field) in [
        ("x", "Policy: it is no JSON document"),
        ("{}", "Statement: it is missing"),
        (ALL, "Statement[0].Principal: it is missing"),
    ] {
        let put = json!({"ResourceARN": ORDERS, "Policy": policy});
        let (code, message) = root.error(&server, "PutResourcePolicy", put).await;
        assert_eq!(code, "InvalidArgumentException");
        assert_eq!(message, format!("Policy is malformed: {field}."));
    }
}
