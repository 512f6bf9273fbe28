//! Evaluates policies: identity and resource policies, accounts, conditions, variables, and documents that are
//! refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anabranch_types::Timestamp;
use proptest::prelude::*;

use super::*;

const STREAM: &str = "arn:aws:kinesis:us-east-1:111111111111:stream/orders";
const OWN: &str = "111111111111";
const ALICE: Caller<'_> =
    Caller { account: OWN, arn: "arn:aws:iam::111111111111:user/alice", is_root: false };
const ROOT: Caller<'_> =
    Caller { account: OWN, arn: "arn:aws:iam::111111111111:root", is_root: true };
const STRANGER: Caller<'_> =
    Caller { account: "222222222222", arn: "arn:aws:iam::222222222222:user/bob", is_root: false };

fn context(caller: &Caller<'static>) -> RequestContext<'static> {
    RequestContext {
        username: caller.arn.rsplit(['/', ':']).next().unwrap(),
        principal_arn: caller.arn,
        principal_account: caller.account,
        source_ip: "10.1.2.3".parse().unwrap(),
        is_secure: false,
        user_agent: Some("Boto3/1.0 md/x"),
        now: Timestamp::from_millis(1_440_938_160_000),
        token_issued: None,
        region: "us-east-1",
        resource_account: OWN,
        resource_tags: None,
        request_tags: &[],
    }
}

fn identity(text: &str) -> Policy {
    Policy::parse(text, Kind::Identity).unwrap()
}

fn resource(text: &str) -> Policy {
    Policy::parse(text, Kind::Resource).unwrap()
}

fn decision(
    caller: Caller<'static>,
    action: &str,
    policies: &[&str],
    of_resource: Option<&str>,
) -> Result<(), Denial> {
    let context = context(&caller);
    let request =
        AuthorizationRequest { caller, action, resource: STREAM, owner: OWN, context: &context };
    let policies: Vec<_> = policies.iter().map(|text| identity(text)).collect();
    decide(&request, &policies, of_resource.map(resource).as_ref())
}

/// An identity policy with one statement.
fn one(effect: &str, action: &str, of: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Action":"{action}",
            "Resource":"{of}","Condition":{condition}}}}}"#
    )
}

fn allow(action: &str, of: &str) -> String {
    one("Allow", action, of, "{}")
}

/// A resource policy with one statement.
fn grant(effect: &str, principal: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"s","Effect":"{effect}",
            "Principal":{principal},"Action":["kinesis:PutRecord","kinesis:Get*"],
            "Resource":"{STREAM}"}}]}}"#
    )
}

fn to(principal: &str) -> String {
    grant("Allow", &format!(r#"{{"AWS":"{principal}"}}"#))
}

#[test]
fn a_request_is_denied_unless_a_policy_allows_it() {
    let put = "kinesis:PutRecord";
    assert_eq!(decision(ALICE, put, &[], None), Err(Denial::NotAllowedByIdentity));
    assert_eq!(decision(ALICE, put, &[&allow("kinesis:PutRecord", STREAM)], None), Ok(()));
    for (action, of) in [
        ("*", "*"),
        ("kinesis:*", "*"),
        ("kinesis:put*", STREAM),
        ("KINESIS:Put?ecord", "arn:aws:kinesis:*:*:stream/ord*"),
        ("kinesis:PutRecord", "arn:*:kinesis:*:111111111111:stream/?rders"),
    ] {
        assert_eq!(decision(ALICE, put, &[&allow(action, of)], None), Ok(()), "{action} {of}");
    }
    for (action, of) in [
        ("kinesis:PutRecords", "*"),
        ("kinesis:Get*", "*"),
        ("firehose:PutRecord", "*"),
        ("kinesis:PutRecord", "arn:aws:kinesis:us-east-1:111111111111:stream/Orders"),
        ("kinesis:PutRecord", "arn:aws:kinesis:us-east-1:111111111111:stream/order"),
        // A star does not match across a colon of the first five parts.
        ("kinesis:PutRecord", "arn:aws:kinesis:us-east-1:*:orders"),
        ("kinesis:PutRecord", "arn:aws:s3:*:*:*"),
    ] {
        let denied = Err(Denial::NotAllowedByIdentity);
        assert_eq!(decision(ALICE, put, &[&allow(action, of)], None), denied, "{action} {of}");
    }
}

#[test]
fn a_deny_wins_over_an_allow() {
    let (all, put) = (allow("*", "*"), "kinesis:PutRecord");
    let deny = one("Deny", "kinesis:PutRecord", "*", "{}");
    assert_eq!(decision(ALICE, put, &[&all, &deny], None), Err(Denial::DeniedByIdentity));
    assert_eq!(decision(ALICE, put, &[&deny, &all], None), Err(Denial::DeniedByIdentity));
    assert_eq!(decision(ALICE, "kinesis:GetRecords", &[&all, &deny], None), Ok(()));
    let deny = grant("Deny", "\"*\"");
    assert_eq!(decision(ALICE, put, &[&all], Some(&deny)), Err(Denial::DeniedByResource));
}

#[test]
fn not_action_and_not_resource_match_everything_else() {
    let but = |field: &str, value: &str| {
        let text = format!(
            r#"{{"Statement":{{"Effect":"Allow",{field}:"{value}",{}}}}}"#,
            if field.contains("Action") { r#""Resource":"*""# } else { r#""Action":"*""# }
        );
        decision(ALICE, "kinesis:PutRecord", &[&text], None)
    };
    assert_eq!(but("\"NotAction\"", "kinesis:Delete*"), Ok(()));
    assert_eq!(but("\"NotAction\"", "kinesis:Put*"), Err(Denial::NotAllowedByIdentity));
    assert_eq!(but("\"NotResource\"", "arn:aws:kinesis:*:*:stream/private"), Ok(()));
    assert_eq!(but("\"NotResource\"", STREAM), Err(Denial::NotAllowedByIdentity));
}

#[test]
fn in_the_own_account_a_policy_of_the_user_or_of_the_resource_is_enough() {
    let put = "kinesis:PutRecord";
    assert_eq!(decision(ALICE, put, &[], Some(&to(ALICE.arn))), Ok(()));
    assert_eq!(decision(ALICE, put, &[], Some(&to("*"))), Ok(()));
    assert_eq!(decision(ALICE, put, &[], Some(&grant("Allow", "\"*\""))), Ok(()));
    let denied = Err(Denial::NotAllowedByIdentity);
    // The account may pass the right on to its users, but no policy of this user does.
    assert_eq!(decision(ALICE, put, &[], Some(&to(OWN))), denied);
    assert_eq!(decision(ALICE, put, &[], Some(&to("arn:aws:iam::111111111111:user/bob"))), denied);
    assert_eq!(decision(ALICE, "kinesis:DeleteStream", &[], Some(&to("*"))), denied);
}

#[test]
fn across_accounts_both_policies_must_allow() {
    let (put, all) = ("kinesis:PutRecord", allow("*", "*"));
    let no_identity = Err(Denial::NotAllowedByIdentity);
    let no_resource = Err(Denial::NotAllowedByResource);
    assert_eq!(decision(STRANGER, put, &[&all], None), no_resource);
    assert_eq!(decision(STRANGER, put, &[], Some(&to("*"))), no_identity);
    for principal in ["*", "222222222222", "arn:aws:iam::222222222222:root", STRANGER.arn] {
        assert_eq!(decision(STRANGER, put, &[&all], Some(&to(principal))), Ok(()), "{principal}");
    }
    for principal in [OWN, "arn:aws:iam::111111111111:user/bob"] {
        assert_eq!(
            decision(STRANGER, put, &[&all], Some(&to(principal))),
            no_resource,
            "{principal}"
        );
    }
}

#[test]
fn the_root_user_may_do_everything_in_its_own_account() {
    let deny = grant("Deny", "\"*\"");
    assert_eq!(decision(ROOT, "kinesis:PutRecord", &[], None), Ok(()));
    assert_eq!(decision(ROOT, "kinesis:PutRecord", &[], Some(&deny)), Ok(()));
    let other =
        Caller { account: "222222222222", arn: "arn:aws:iam::222222222222:root", is_root: true };
    let put = "kinesis:PutRecord";
    assert_eq!(decision(other, put, &[], None), Err(Denial::NotAllowedByResource));
    assert_eq!(decision(other, put, &[], Some(&to("222222222222"))), Ok(()));
}

#[test]
fn not_principal_exempts_a_caller_only_by_name() {
    let text = |principal: &str| {
        grant("Deny", &format!(r#"{{"AWS":"{principal}"}}"#)).replace("Principal", "NotPrincipal")
    };
    let all = allow("*", "*");
    let decision =
        |principal| decision(ALICE, "kinesis:PutRecord", &[&all], Some(&text(principal)));
    assert_eq!(decision(ALICE.arn), Ok(()));
    assert_eq!(decision(STRANGER.arn), Err(Denial::DeniedByResource));
    assert_eq!(decision(OWN), Err(Denial::DeniedByResource));
}

#[test]
fn denials_have_the_messages_of_aws() {
    let context = context(&ALICE);
    let request = AuthorizationRequest {
        caller: ALICE,
        action: "kinesis:PutRecord",
        resource: STREAM,
        owner: OWN,
        context: &context,
    };
    let start = "User: arn:aws:iam::111111111111:user/alice is not authorized to perform: \
                 kinesis:PutRecord on resource: arn:aws:kinesis:us-east-1:111111111111:stream/orders ";
    let message = |denial: Denial| denial.message(&request).strip_prefix(start).unwrap().to_owned();
    assert_eq!(
        message(Denial::NotAllowedByIdentity),
        "because no identity-based policy allows the kinesis:PutRecord action"
    );
    assert_eq!(
        message(Denial::NotAllowedByResource),
        "because no resource-based policy allows the kinesis:PutRecord action"
    );
    assert_eq!(
        message(Denial::DeniedByIdentity),
        "with an explicit deny in an identity-based policy"
    );
    assert_eq!(
        message(Denial::DeniedByResource),
        "with an explicit deny in a resource-based policy"
    );
}

fn holds_of(condition: &str, context: &RequestContext<'_>) -> bool {
    let policy = identity(&one("Allow", "*", "*", condition));
    let request = AuthorizationRequest {
        caller: ALICE,
        action: "kinesis:PutRecord",
        resource: STREAM,
        owner: OWN,
        context,
    };
    decide(&request, [&policy], None).is_ok()
}

fn holds(condition: &str) -> bool {
    holds_of(condition, &context(&ALICE))
}

#[test]
fn each_condition_operator_compares_as_in_iam() {
    for condition in [
        r#"{"StringEquals":{"aws:username":"alice"}}"#,
        r#"{"StringEquals":{"AWS:UserName":["bob","alice"]}}"#,
        r#"{"StringNotEquals":{"aws:username":["bob","carol"]}}"#,
        r#"{"StringEqualsIgnoreCase":{"aws:username":"ALICE"}}"#,
        r#"{"StringNotEqualsIgnoreCase":{"aws:username":"BOB"}}"#,
        r#"{"StringLike":{"aws:UserAgent":"Boto3/*"}}"#,
        r#"{"StringNotLike":{"aws:UserAgent":"aws-sdk-java/*"}}"#,
        r#"{"StringEquals":{"aws:PrincipalAccount":"111111111111"}}"#,
        r#"{"StringEquals":{"aws:PrincipalType":"User"}}"#,
        r#"{"NumericLessThan":{"aws:EpochTime":1440938161}}"#,
        r#"{"NumericEquals":{"aws:EpochTime":"1440938160"}}"#,
        r#"{"NumericNotEquals":{"aws:EpochTime":1}}"#,
        r#"{"NumericGreaterThanEquals":{"aws:EpochTime":1440938160}}"#,
        r#"{"DateGreaterThan":{"aws:CurrentTime":"2015-08-30T12:35:59Z"}}"#,
        r#"{"DateLessThanEquals":{"aws:CurrentTime":"2015-08-30T12:36:00Z"}}"#,
        r#"{"DateLessThan":{"aws:EpochTime":"2015-08-31"}}"#,
        r#"{"DateNotEquals":{"aws:CurrentTime":"1440938161"}}"#,
        r#"{"Bool":{"aws:SecureTransport":false}}"#,
        r#"{"Bool":{"aws:SecureTransport":"false"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["192.168.0.0/16","10.1.0.0/16"]}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"10.1.2.3"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":["10.1.2.4/32","::/0"]}}"#,
        r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/al*"}}"#,
        r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111111111111:user/alice"}}"#,
        r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::222222222222:*"}}"#,
        r#"{"Null":{"aws:RequestTag/team":"true","aws:username":"false"}}"#,
        r#"{"StringEquals":{"aws:username":"${aws:username}"}}"#,
        r#"{"StringLike":{"aws:PrincipalArn":"*:user/${aws:username}"}}"#,
        r#"{"StringEqualsIfExists":{"aws:RequestTag/team":"x"}}"#,
        r#"{"StringNotEquals":{"aws:RequestTag/team":"x"}}"#,
        r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}"#,
        r#"{"StringEquals":{"aws:RequestedRegion":"us-east-1","aws:ResourceAccount":"111111111111"}}"#,
        r#"{"Bool":{"aws:PrincipalIsAWSService":"false","aws:ViaAWSService":"false"}}"#,
        r#"{"Null":{"aws:TokenIssueTime":"true","aws:MultiFactorAuthPresent":"true"}}"#,
    ] {
        assert!(holds(condition), "{condition}");
    }
    for condition in [
        r#"{"StringEquals":{"aws:username":"Alice"}}"#,
        r#"{"StringEquals":{"aws:username":"al*"}}"#,
        r#"{"StringNotEquals":{"aws:username":["bob","alice"]}}"#,
        r#"{"StringEquals":{"aws:username":"alice"},"Bool":{"aws:SecureTransport":"true"}}"#,
        r#"{"StringEquals":{"aws:username":"alice","aws:PrincipalAccount":"1"}}"#,
        r#"{"NumericLessThan":{"aws:EpochTime":1440938160}}"#,
        r#"{"NumericEquals":{"aws:username":1}}"#,
        r#"{"DateGreaterThan":{"aws:CurrentTime":"2015-08-30T12:36:00Z"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"10.2.0.0/16"}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"::/0"}}"#,
        r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam:*:user/alice:*"}}"#,
        r#"{"Null":{"aws:username":"true"}}"#,
        r#"{"StringEquals":{"aws:RequestTag/team":"x"}}"#,
        r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#,
        r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["a"]}}"#,
        r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["a"]}}"#,
        // An Allow with a variable that has no value never matches, whatever the operator.
        r#"{"StringNotEquals":{"aws:username":"${aws:RequestTag/owner}"}}"#,
    ] {
        assert!(!holds(condition), "{condition}");
    }
}

#[test]
fn conditions_compare_tags_of_the_resource_and_of_the_request() {
    let tags = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
    let asked = [
        (Cow::Borrowed("team"), Some(Cow::Borrowed("red"))),
        (Cow::Borrowed("cost"), Some(Cow::Borrowed("7"))),
    ];
    let context =
        RequestContext { resource_tags: Some(&tags), request_tags: &asked, ..context(&ALICE) };
    for condition in [
        r#"{"StringEquals":{"aws:ResourceTag/team":"red"}}"#,
        r#"{"StringEquals":{"aws:resourcetag/TEAM":"red"}}"#,
        r#"{"StringEquals":{"aws:RequestTag/Team":"red"}}"#,
        r#"{"StringEquals":{"aws:RequestTag/team":"${aws:ResourceTag/team}"}}"#,
        r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["team","cost","x"]}}"#,
        r#"{"ForAnyValue:StringLike":{"aws:TagKeys":"co*"}}"#,
        r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["x"]}}"#,
        r#"{"Null":{"aws:TagKeys":"false"}}"#,
    ] {
        assert!(holds_of(condition, &context), "{condition}");
    }
    for condition in [
        r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}"#,
        r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["x"]}}"#,
        r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["cost"]}}"#,
    ] {
        assert!(!holds_of(condition, &context), "{condition}");
    }
}

/// Whether a user may make the request with two policies: one allows everything, the other denies under this
/// condition.
fn passes(condition: &str, context: &RequestContext<'_>) -> bool {
    let policies = [allow("*", "*"), one("Deny", "*", "*", condition)];
    let policies = policies.map(|text| Policy::parse_new(&text, Kind::Identity).unwrap());
    let action = "kinesis:PutRecord";
    let request =
        AuthorizationRequest { caller: ALICE, action, resource: STREAM, owner: OWN, context };
    decide(&request, &policies, None).is_ok()
}

#[test]
fn a_deny_sees_a_value_for_every_key_that_iam_gives_to_a_request() {
    let tags = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let asked = [(Cow::Borrowed("Owner"), Some(Cow::Borrowed("me")))];
    let context = RequestContext {
        token_issued: Some(Timestamp::from_millis(1_440_938_000_000)),
        resource_tags: Some(&tags),
        request_tags: &asked,
        ..context(&ALICE)
    };
    for condition in [
        r#"{"DateLessThan":{"aws:TokenIssueTime":"2015-08-30T12:36:00Z"}}"#,
        r#"{"Bool":{"aws:PrincipalIsAWSService":"false"}}"#,
        r#"{"Bool":{"aws:ViaAWSService":"false"}}"#,
        r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#,
        r#"{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}"#,
        r#"{"StringNotEquals":{"aws:RequestedRegion":["eu-central-1","eu-west-1"]}}"#,
        r#"{"StringEquals":{"aws:ResourceAccount":"111111111111"}}"#,
        r#"{"StringNotEquals":{"aws:ResourceAccount":"${aws:RequestTag/owner}"}}"#,
        r#"{"StringEquals":{"aws:ResourceTag/Env":"prod"}}"#,
        r#"{"StringLike":{"aws:RequestTag/owner":"*"}}"#,
        r#"{"Null":{"aws:RequestTag/OWNER":"false"}}"#,
    ] {
        assert!(!passes(condition, &context), "{condition}");
    }
    for condition in [
        r#"{"DateLessThan":{"aws:TokenIssueTime":"2015-08-30T12:30:00Z"}}"#,
        r#"{"StringNotEquals":{"aws:RequestedRegion":"us-east-1"}}"#,
        r#"{"StringEquals":{"aws:ResourceTag/Env":"test"}}"#,
    ] {
        assert!(passes(condition, &context), "{condition}");
    }
    // As in IAM, a request with a long-term key has no token issue time.
    let context = RequestContext { token_issued: None, ..context };
    assert!(passes(r#"{"DateLessThan":{"aws:TokenIssueTime":"2030-01-01T00:00:00Z"}}"#, &context));
}

#[test]
fn with_two_tags_that_differ_in_case_either_denies_and_only_both_allow() {
    let tags = [("Env", "prod"), ("env", "test")];
    let tags: BTreeMap<_, _> = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let context = RequestContext { resource_tags: Some(&tags), ..context(&ALICE) };
    for value in ["prod", "test"] {
        let equals = format!(r#"{{"StringEquals":{{"aws:ResourceTag/env":"{value}"}}}}"#);
        let other = format!(r#"{{"StringNotEquals":{{"aws:ResourceTag/env":"{value}"}}}}"#);
        assert!(!passes(&equals, &context) && !passes(&other, &context), "{value}");
        assert!(!holds_of(&equals, &context) && !holds_of(&other, &context), "{value}");
    }
    let both = r#"{"StringEquals":{"aws:ResourceTag/ENV":["test","prod"]}}"#;
    assert!(holds_of(both, &context));
}

#[test]
fn a_new_document_with_a_deny_on_an_absent_key_is_refused() {
    for key in ["aws:PrincipalOrgID", "aws:SourceVpce", "aws:PrincipalTag/team", "AWS:Referer"] {
        let condition = format!(r#"{{"StringEquals":{{"{key}":"x"}}}}"#);
        let deny = one("Deny", "*", "*", &condition);
        let error = Policy::parse_new(&deny, Kind::Identity).unwrap_err().to_string();
        let rule = "so a Deny on it would deny nothing, or everything";
        assert_eq!(
            error,
            format!("Statement[0].Condition: no request has a value for {key} here, {rule}")
        );
        // Documents that earlier versions attached stay valid. An Allow on such a key just never matches.
        assert!(Policy::parse(&deny, Kind::Identity).is_ok());
        assert!(Policy::parse_new(&one("Allow", "*", "*", &condition), Kind::Identity).is_ok());
    }
}

#[test]
fn the_length_of_values_and_the_number_of_variables_are_limited() {
    let document = |count: usize| {
        let value = "*".to_owned() + &"${aws:UserAgent}".repeat(count);
        one("Deny", "*", "*", &format!(r#"{{"StringLike":{{"aws:username":"{value}"}}}}"#))
    };
    assert!(Policy::parse_new(&document(16), Kind::Identity).is_ok());
    let error = Policy::parse_new(&document(17), Kind::Identity).unwrap_err().to_string();
    assert_eq!(error, "Statement[0]: a value has more than 16 variables");
    assert!(Policy::parse(&document(200), Kind::Identity).is_ok());
    let resource = allow("*", &format!("arn:aws:kinesis:*:*:{}", "${aws:username}".repeat(17)));
    assert!(Policy::parse_new(&resource, Kind::Identity).is_err());
    // Only the beginning of a user agent is compared.
    let agent = "a".repeat(MAX_VALUE_BYTES - 1) + "\u{e4}b";
    let context = RequestContext { user_agent: Some(&agent), ..context(&ALICE) };
    assert!(holds_of(r#"{"StringLike":{"aws:UserAgent":"a*a"}}"#, &context));
}

#[test]
fn variables_are_replaced_by_their_values_without_wildcards() {
    let put = "kinesis:PutRecord";
    let own = |of: &str, version: &str| {
        let text = allow("*", of).replace("2012-10-17", version);
        let context = RequestContext { username: "orders", ..context(&ALICE) };
        let request = AuthorizationRequest {
            caller: ALICE,
            action: put,
            resource: STREAM,
            owner: OWN,
            context: &context,
        };
        decide(&request, [&identity(&text)], None).is_ok()
    };
    assert!(own("arn:aws:kinesis:*:*:stream/${aws:username}", "2012-10-17"));
    assert!(!own("arn:aws:kinesis:*:*:stream/${aws:username}", "2008-10-17"));
    assert!(own("arn:aws:kinesis:*:${aws:PrincipalAccount}:stream/*", "2012-10-17"));
    assert!(!own("arn:aws:kinesis:*:*:stream/${*}", "2012-10-17"));
    assert!(!own("arn:aws:kinesis:*:*:stream/${aws:RequestTag/x}", "2012-10-17"));
    assert!(own("arn:aws:kinesis:*:*:stream/${aws:RequestTag/x, 'orders'}", "2012-10-17"));
    // A star in the value of a variable is an ordinary character.
    let context = RequestContext { username: "*", ..context(&ALICE) };
    let request = AuthorizationRequest {
        caller: ALICE,
        action: put,
        resource: STREAM,
        owner: OWN,
        context: &context,
    };
    let policy = identity(&allow("*", "arn:aws:kinesis:*:*:stream/${aws:username}"));
    assert!(decide(&request, [&policy], None).is_err());
}

#[test]
fn invalid_documents_are_refused_with_field_and_rule() {
    let error = |text: &str, kind| Policy::parse(text, kind).unwrap_err().to_string();
    let statement = |members: &str| {
        let text = format!(r#"{{"Statement":[{{{members}}}]}}"#);
        error(&text, Kind::Identity)
    };
    let of_resource = |members: &str| {
        let rest = r#""Effect":"Allow","Action":"kinesis:*","Resource":"*""#;
        error(&format!(r#"{{"Statement":[{{{members}{rest}}}]}}"#), Kind::Resource)
    };
    let whole = |text: &str| error(text, Kind::Identity);
    assert_eq!(whole("{"), "Policy: it is no JSON document");
    assert_eq!(whole("[]"), "Policy: it is not a JSON object");
    assert_eq!(whole("{}"), "Statement: it is missing");
    assert_eq!(whole(r#"{"Statement":[]}"#), "Statement: it is empty");
    assert_eq!(
        whole(r#"{"Version":"2020-01-01","Statement":[]}"#),
        "Version: it is 2012-10-17 or 2008-10-17"
    );
    assert_eq!(whole(r#"{"Statments":[]}"#), "Statement: it is missing");
    assert!(whole(&" ".repeat(20_481)).starts_with("Policy: it is longer than 20480 bytes"));
    assert_eq!(whole(&"[".repeat(20_000)), "Policy: it is no JSON document");
    let allow = r#""Effect":"Allow","Action":"*","Resource":"*""#;
    assert_eq!(
        statement(r#""Effect":"allow","Action":"*","Resource":"*""#),
        "Statement[0].Effect: it is Allow or Deny"
    );
    assert_eq!(
        statement(r#""Effect":"Allow","Resource":"*""#),
        "Statement[0].Action: it is missing, and so is NotAction"
    );
    assert_eq!(
        statement(&format!(r#"{allow},"NotAction":"*""#)),
        "Statement[0].Action: it cannot be combined with NotAction"
    );
    assert_eq!(
        statement(&format!(r#"{allow},"Effect":"Deny""#)),
        "Statement[0].Effect: it appears more than once"
    );
    assert_eq!(
        statement(&format!(r#"{allow},"Conditions":{{}}"#)),
        "Statement[0].Conditions: unknown member"
    );
    assert_eq!(
        statement(&format!(r#"{allow},"Principal":"*""#)),
        "Statement[0].Principal: it is allowed only in policies of resources"
    );
    assert!(
        statement(r#""Effect":"Allow","Action":"PutRecord","Resource":"*""#)
            .starts_with("Statement[0].Action: 'PutRecord': an action is")
    );
    assert!(
        statement(r#""Effect":"Allow","Action":"*","Resource":"orders""#)
            .starts_with("Statement[0].Resource: 'orders': it is '*' or an ARN")
    );
    let condition = |text: &str| statement(&format!(r#"{allow},"Condition":{text}"#));
    assert_eq!(
        condition(r#"{"StringEqual":{"aws:username":"x"}}"#),
        "Statement[0].Condition.StringEqual: unknown condition operator"
    );
    assert_eq!(
        condition(r#"{"NullIfExists":{"aws:username":"true"}}"#),
        "Statement[0].Condition.NullIfExists: unknown condition operator"
    );
    assert_eq!(
        condition(r#"{"StringEquals":{"aws:usernam":"x"}}"#),
        "Statement[0].Condition.StringEquals.aws:usernam: unknown condition key"
    );
    assert_eq!(
        condition(r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#),
        "Statement[0].Condition.IpAddress.aws:SourceIp: a value is neither an IP address \
         nor a CIDR range"
    );
    assert_eq!(
        condition(r#"{"StringEquals":{"aws:username":"x"},"StringEquals":{"aws:username":"y"}}"#),
        "Statement[0].Condition.StringEquals: it appears more than once"
    );
    assert_eq!(of_resource(""), "Statement[0].Principal: it is missing");
    assert_eq!(
        of_resource(r#""Principal":{"Service":"x"},"#),
        "Statement[0].Principal.Service: unknown member"
    );
    assert_eq!(
        of_resource(r#""NotPrincipal":"*","#),
        "Statement[0].NotPrincipal: it is allowed only with the effect Deny"
    );
    assert!(
        of_resource(r#""Principal":{"AWS":"arn:aws:iam::111111111111:user/*"},"#)
            .starts_with("Statement[0].Principal: 'arn:aws:iam::111111111111:user/*': a principal")
    );
    let twice = r#"{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},
        {"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    assert_eq!(whole(twice), "Sid: another statement has the same Sid");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,300}") {
        let _ = Policy::parse(&text, Kind::Identity);
    }

    #[test]
    fn no_statement_makes_the_parser_or_the_evaluation_panic(
        action in "[a-z:*?]{0,12}",
        of in "[a-z:*?$\\{\\}/ ]{0,24}",
        operator in "(String|Arn|Date|Numeric|Bool|Null)[A-Za-z]{0,12}",
        value in "[a-z:*?$\\{\\}/0-9]{0,16}",
    ) {
        let condition = format!(r#"{{"{operator}":{{"aws:username":"{value}"}}}}"#);
        for of in [of.as_str(), &format!("arn:a:b:c:d:{of}")] {
            if let Ok(policy) = Policy::parse(&one("Allow", &action, of, &condition), Kind::Identity) {
                let context = context(&ALICE);
                let request = AuthorizationRequest {
                    caller: ALICE, action: "kinesis:PutRecord", resource: STREAM, owner: OWN, context: &context,
                };
                let _ = decide(&request, [&policy], None);
            }
        }
    }
}
