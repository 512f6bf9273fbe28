//! Requests and responses about users of the Kinesis API, their keys and their policies. No response has a secret.

use std::time::Duration;

use anabranch_access::policy::{Kind, Policy};
use anabranch_catalog::{AccessKey, Command, Refusal, User, UserCommand, Users};
use anabranch_proto::admin as pb;
use anabranch_types::{AccountId, ParseError, Timestamp, UserName, limits};
use tonic::Status;

use crate::admin_service::lookup::page_limit;
use crate::admin_service::refusals::{invalid, refused};

const PAGE: usize = 1_000;

pub(super) fn page(
    users: &Users,
    request: &pb::ListUsersRequest,
) -> Result<pb::ListUsersResponse, Status> {
    let limit = page_limit(request.limit, PAGE, PAGE)?;
    let rest = users.iter().filter(|(name, _)| name.as_str() > request.start_after.as_str());
    let mut page: Vec<_> = rest.take(limit + 1).map(|(name, user)| message(name, user)).collect();
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next_start_after = page.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(pb::ListUsersResponse { users: page, next_start_after })
}

pub(super) fn find<'a>(users: &'a Users, name: &UserName) -> Result<&'a User, Status> {
    let found = users.get(name);
    found.ok_or_else(|| refused(&Refusal::UserNotFound { user: name.clone() }))
}

pub(super) fn policy(users: &Users, asked: pb::GetUserPolicyRequest) -> Result<String, Status> {
    let pb::GetUserPolicyRequest { user, name: policy } = asked;
    let user = name("user", &user)?;
    match find(users, &user)?.policies.get(&policy) {
        Some(document) => Ok(document.clone()),
        None => Err(refused(&Refusal::UserPolicyNotFound { user, name: policy })),
    }
}

pub(super) fn put_policy(asked: pb::PutUserPolicyRequest) -> Result<Command, Status> {
    let pb::PutUserPolicyRequest { user, name: policy, document } = asked;
    let user = name("user", &user)?;
    let length = 1..=limits::POLICY_NAME_MAX_CHARACTERS;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    if !length.contains(&policy.len()) || !policy.bytes().all(allowed) {
        return Err(invalid("name", "must be 1 to 128 characters of [A-Za-z0-9+=,.@_-]"));
    }
    let (characters, most) = (document.chars().count(), limits::USER_POLICY_MAX_CHARACTERS);
    if characters > most {
        let rule = format!("has {characters} characters; it must have at most {most}");
        return Err(invalid("document", rule));
    }
    Policy::parse_new(&document, Kind::Identity).map_err(|error| invalid("document", error))?;
    Ok(Command::User(UserCommand::PutPolicy { user, name: policy, document }))
}

pub(super) fn session_length(seconds: u32) -> Result<Duration, Status> {
    let seconds = u64::from(seconds);
    if !(limits::SESSION_MIN_SECONDS..=limits::SESSION_MAX_SECONDS).contains(&seconds) {
        return Err(invalid("seconds", "must be 900 to 43200"));
    }
    Ok(Duration::from_secs(seconds))
}

pub(super) fn name(field: &str, text: &str) -> Result<UserName, Status> {
    text.parse().map_err(|error: ParseError| invalid(field, error))
}

/// The account that the request names, or the cluster's if it names none.
pub(super) fn account(asked: &str, own: &AccountId) -> Result<AccountId, Status> {
    if asked.is_empty() {
        return Ok(own.clone());
    }
    asked.parse().map_err(|error: ParseError| invalid("account", error))
}

pub(super) fn message(name: &UserName, user: &User) -> pb::User {
    let key = |(id, key): (&String, &AccessKey)| pb::AccessKey {
        id: id.clone(),
        enabled: key.enabled,
        created_millis: key.created.as_millis(),
    };
    pb::User {
        keys: user.keys.iter().map(key).collect(),
        policies: user.policies.keys().cloned().collect(),
        ..new_message(name, &user.account, user.created)
    }
}

/// A user without keys and policies.
pub(super) fn new_message(name: &UserName, account: &AccountId, created: Timestamp) -> pb::User {
    pb::User {
        name: name.to_string(),
        account: account.to_string(),
        created_millis: created.as_millis(),
        keys: Vec::new(),
        policies: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tonic::Code;

    use super::*;

    fn users(names: &[&str]) -> Users {
        let now = Timestamp::from_millis(7);
        let key = AccessKey { sealed_secret: b"sealed".to_vec(), enabled: true, created: now };
        let user = |name: &&str| {
            let user = User {
                account: AccountId::default(),
                created: now,
                policies: BTreeMap::from([("p".to_owned(), "{}".to_owned())]),
                keys: BTreeMap::from([(format!("AKIA{name}"), key.clone())]),
            };
            (name.parse().unwrap(), user)
        };
        Users::new(1, names.iter().map(user)).unwrap()
    }

    #[test]
    fn users_come_in_pages_without_their_secrets() {
        let users = users(&["a", "b", "c"]);
        let ask = |start_after: &str, limit| {
            let request = pb::ListUsersRequest { start_after: start_after.into(), limit };
            let page = page(&users, &request).unwrap();
            let names: Vec<_> = page.users.iter().map(|user| user.name.clone()).collect();
            (names.concat(), page.next_start_after)
        };
        assert_eq!(ask("", 2), ("ab".into(), Some("b".into())));
        assert_eq!(ask("b", 2), ("c".into(), None));
        assert_eq!(ask("", 3), ("abc".into(), None));
        assert_eq!(ask("", 0), ("abc".into(), None));
        assert_eq!(ask("c", 0), (String::new(), None));
        let request = pb::ListUsersRequest { start_after: String::new(), limit: 1_001 };
        assert_eq!(page(&users, &request).unwrap_err().code(), Code::InvalidArgument);
        let name: UserName = "a".parse().unwrap();
        let shown = message(&name, find(&users, &name).unwrap());
        assert_eq!((shown.keys[0].id.as_str(), shown.keys[0].enabled), ("AKIAa", true));
        assert_eq!(shown.policies, ["p"]);
    }

    #[test]
    fn a_missing_user_or_policy_is_named() {
        let users = users(&["a"]);
        let ask = |user: &str, name: &str| {
            policy(&users, pb::GetUserPolicyRequest { user: user.into(), name: name.into() })
        };
        assert_eq!(ask("a", "p").unwrap(), "{}");
        for (user, name, message) in
            [("b", "p", "user b not found"), ("a", "q", "user a has no policy q")]
        {
            let refused = ask(user, name).unwrap_err();
            assert_eq!((refused.code(), refused.message()), (Code::NotFound, message));
        }
    }

    #[test]
    fn a_request_that_breaks_a_rule_is_refused_by_its_field() {
        let put = |user: &str, name: &str, document: &str| {
            let [user, name, document] = [user, name, document].map(str::to_owned);
            put_policy(pb::PutUserPolicyRequest { user, name, document })
        };
        let says = |status: Status, start: &str| {
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().starts_with(start), "{status:?}");
        };
        let allow = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}"#;
        assert!(matches!(put("a", "p", allow), Ok(Command::User(UserCommand::PutPolicy { .. }))));
        says(put("a", "p", &allow.replace("Allow", "May")).unwrap_err(), "document: Statement[0].");
        says(put("a b", "p", "{}").unwrap_err(), "user: ");
        says(put("a", "", "{}").unwrap_err(), "name: ");
        says(put("a", "a/b", "{}").unwrap_err(), "name: ");
        says(put("a", "p", &" ".repeat(6_145)).unwrap_err(), "document: has 6145 characters");
        says(put("a", "p", "{}").unwrap_err(), "document: Statement: it is missing");
        says(session_length(899).unwrap_err(), "seconds: ");
        says(session_length(43_201).unwrap_err(), "seconds: ");
        assert_eq!(session_length(900).unwrap(), Duration::from_secs(900));
        says(account("1", &AccountId::default()).unwrap_err(), "account: ");
        assert_eq!(account("", &AccountId::default()).unwrap(), AccountId::default());
    }
}
