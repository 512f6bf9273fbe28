//! Users, access keys and policies: their lives, their limits, and what they share with other versions of the catalog.

use proptest::prelude::*;

use super::*;
use crate::model::StreamMode;
use crate::outcome::Outcome;
use crate::script::{NOW, Script};

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

fn create(user: &str) -> UserCommand {
    UserCommand::Create { name: name(user), account: AccountId::default(), now: NOW }
}

fn delete(user: &str) -> UserCommand {
    UserCommand::Delete { name: name(user) }
}

fn key(user: &str, id: &str) -> UserCommand {
    let sealed_secret = format!("sealed for {id}").into_bytes();
    UserCommand::CreateAccessKey { user: name(user), id: id.into(), sealed_secret, now: NOW }
}

fn set(id: &str, enabled: bool) -> UserCommand {
    UserCommand::SetAccessKey { id: id.into(), enabled }
}

fn put(user: &str, policy: &str, document: &str) -> UserCommand {
    let document = document.into();
    UserCommand::PutPolicy { user: name(user), name: policy.into(), document }
}

fn script(users: &[&str]) -> Script {
    let mut script = Script::with_nodes(1, &["a"]);
    users.iter().for_each(|user| script.done(create(user)));
    script
}

fn owner(script: &Script, id: &str) -> Option<String> {
    script.catalog.access_key(id).map(|(owner, _, _)| owner.to_string())
}

#[test]
fn a_deleted_user_loses_its_keys_and_policies() {
    let mut script = script(&["ann"]);
    assert_eq!(script.refused(create("ann")), Refusal::UserExists { user: name("ann") });
    script.done(key("ann", "AKIA1"));
    script.done(put("ann", "p", "{}"));
    assert_eq!(owner(&script, "AKIA1").as_deref(), Some("ann"));
    script.done(delete("ann"));
    assert_eq!(owner(&script, "AKIA1"), None);
    assert!(script.catalog.users.is_empty());
    let not_found = Refusal::UserNotFound { user: name("ann") };
    assert_eq!(script.refused(delete("ann")), not_found);
    assert_eq!(script.refused(key("ann", "AKIA1")), not_found);
    assert_eq!(script.refused(put("ann", "p", "{}")), not_found);
    script.done(create("ann"));
    let again = script.catalog.users.get(&name("ann")).unwrap();
    assert!(again.keys.is_empty() && again.policies.is_empty());
}

#[test]
fn a_key_is_made_once_switched_off_and_on_and_deleted() {
    let mut script = script(&["ann", "bob"]);
    script.done(key("ann", "AKIA1"));
    let version = script.catalog.version;
    assert_eq!(script.run(key("ann", "AKIA1")), Outcome::Done { version }, "said twice");
    let exists = Refusal::AccessKeyExists { id: "AKIA1".into() };
    assert_eq!(script.refused(key("bob", "AKIA1")), exists);
    let enabled = |script: &Script| script.catalog.access_key("AKIA1").unwrap().2.enabled;
    assert!(enabled(&script));
    script.done(set("AKIA1", false));
    assert!(!enabled(&script));
    assert_eq!(
        script.refused(key("ann", "AKIA1")),
        exists,
        "the key has changed since it was made"
    );
    script.done(set("AKIA1", true));
    assert!(enabled(&script));
    let delete = UserCommand::DeleteAccessKey { id: "AKIA1".into() };
    script.done(delete.clone());
    let not_found = Refusal::AccessKeyNotFound { id: "AKIA1".into() };
    assert_eq!(script.refused(delete), not_found);
    assert_eq!(script.refused(set("AKIA1", true)), not_found);
    script.done(key("bob", "AKIA1"));
    assert_eq!(owner(&script, "AKIA1").as_deref(), Some("bob"));
}

#[test]
fn a_user_has_at_most_two_keys_and_ten_policies() {
    let over = |what, actual, limit| Refusal::Limit { what, actual, limit };
    let mut script = script(&["ann", "bob"]);
    script.done(key("ann", "AKIA1"));
    script.done(key("ann", "AKIA2"));
    assert_eq!(script.refused(key("ann", "AKIA3")), over("access keys", 3, 2));
    script.done(key("bob", "AKIA3"));
    (0..10).for_each(|number| script.done(put("ann", &format!("p{number}"), "{}")));
    assert_eq!(script.refused(put("ann", "more", "{}")), over("policies of a user", 11, 10));
    script.done(put("ann", "p3", "{ }"));
    assert_eq!(script.catalog.users.get(&name("ann")).unwrap().policies["p3"], "{ }");
    let long = "ä".repeat(6_145);
    let too_long = over("characters of a policy", 6_145, 6_144);
    assert_eq!(script.refused(put("bob", "p", &long)), too_long);
    script.done(put("bob", "p", &"ä".repeat(6_144)));
}

#[test]
fn policies_are_deleted_one_by_one() {
    let mut script = script(&["ann"]);
    let delete = UserCommand::DeletePolicy { user: name("ann"), name: "p".into() };
    let not_found = Refusal::UserPolicyNotFound { user: name("ann"), name: "p".into() };
    assert_eq!(script.refused(delete.clone()), not_found);
    script.done(put("ann", "p", "{}"));
    script.done(put("ann", "q", "{}"));
    script.done(delete.clone());
    assert_eq!(script.refused(delete), not_found);
    let left: Vec<_> = script.catalog.users.get(&name("ann")).unwrap().policies.keys().collect();
    assert_eq!(left, ["q"]);
}

#[test]
fn all_policies_together_have_a_limit_and_deleting_frees_it() {
    let mut script = script(&[]);
    let document = "ä".repeat(6_144);
    let fits = limits::ALL_USER_POLICIES_MAX_BYTES / document.len();
    let users: Vec<_> = (0..=fits / 10).map(|number| format!("u{number}")).collect();
    users.iter().for_each(|user| script.done(create(user)));
    let policy = |number: usize| put(&users[number / 10], &format!("p{}", number % 10), &document);
    (0..fits).for_each(|number| script.done(policy(number)));
    let refused = script.refused(policy(fits));
    assert!(matches!(refused, Refusal::Limit { what: "bytes of all users' policies", .. }));
    script.done(put(&users[0], "p0", "{}"));
    script.done(policy(fits));
    script.done(delete(&users[1]));
    script.done(create(&users[1]));
    script.done(policy(10));
}

#[test]
fn changes_of_streams_do_not_copy_the_users() {
    let mut script = script(&["ann"]);
    let before = script.catalog.users.clone();
    script.create_active("s", 1, StreamMode::Provisioned);
    assert!(Arc::ptr_eq(&before.0, &script.catalog.users.0));
    assert_eq!(before.version(), script.catalog.users.version());
    script.done(put("ann", "p", "{}"));
    assert_eq!(script.catalog.users.version(), script.catalog.version);
    assert!(
        before.get(&name("ann")).unwrap().policies.is_empty(),
        "older copies stay as they were"
    );
}

#[test]
fn users_that_share_a_key_are_rejected() {
    let keys = |id: &str| {
        let key = AccessKey { sealed_secret: vec![1], enabled: true, created: NOW };
        BTreeMap::from([(id.to_owned(), key)])
    };
    let user = |id| User {
        account: AccountId::default(),
        created: NOW,
        policies: BTreeMap::new(),
        keys: keys(id),
    };
    assert!(Users::new(3, [(name("a"), user("AKIA1")), (name("b"), user("AKIA1"))]).is_none());
    assert!(Users::new(3, [(name("a"), user("AKIA1")), (name("b"), user("AKIA2"))]).is_some());
}

proptest! {
    #[test]
    fn any_commands_keep_one_owner_per_key_and_users_made_of_the_same_parts_are_equal(
        steps in proptest::collection::vec((0u8..7, 0u8..4, 0u8..6), 1..80)
    ) {
        let mut script = script(&[]);
        for (kind, user, other) in steps {
            let (user, id) = (format!("u{user}"), format!("AKIA{other}"));
            script.run(match kind {
                0 => create(&user),
                1 => delete(&user),
                2 => key(&user, &id),
                3 => set(&id, other % 2 == 0),
                4 => UserCommand::DeleteAccessKey { id },
                5 => put(&user, &id, &"x".repeat(usize::from(other))),
                _ => UserCommand::DeletePolicy { user: name(&user), name: id },
            });
            let users = &script.catalog.users;
            let parts = users.iter().map(|(name, user)| (name.clone(), user.clone()));
            let made = Users::new(users.version(), parts);
            prop_assert_eq!(made.as_ref(), Some(users));
        }
    }
}
