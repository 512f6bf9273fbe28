//! Users, their access keys and what they may do.
//!
//! Secrets are kept sealed, as whoever proposes them sealed them; policies as they were written. Both are read by
//! others: nothing here knows a key or understands a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_types::{AccountId, Timestamp, UserName, limits};

use crate::apply::Change;
use crate::command::Refusal;
use crate::model::Catalog;

/// Users by name. Cheap to clone: versions of the catalog that don't differ in users share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Arc<Inner>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inner {
    version: u64,
    by_name: BTreeMap<UserName, Arc<User>>,
    /// Who owns a key. Invariant: exactly the keys of all users.
    owners: BTreeMap<String, UserName>,
    /// Bytes of all policies.
    policy_bytes: usize,
}

/// Someone who signs requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The account whose resources are the user's own.
    pub account: AccountId,
    /// When it was created.
    pub created: Timestamp,
    /// What it may do: policy documents by their names, as they were written.
    pub policies: BTreeMap<String, String>,
    /// What it signs with, by access key id: `AKIA` and 16 of `[A-Z2-7]`.
    pub keys: BTreeMap<String, AccessKey>,
}

/// What a user signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// The secret, sealed for its key id with the cluster's key (`anabranch_access::SecretSealer`).
    pub sealed_secret: Vec<u8>,
    /// Whether requests that are signed with it are taken.
    pub enabled: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl Users {
    /// These users, as the change at log index `version` left them.
    ///
    /// `None` if two of them have the same name or the same access key.
    pub fn new(version: u64, users: impl IntoIterator<Item = (UserName, User)>) -> Option<Self> {
        let mut inner = Inner { version, ..Inner::default() };
        for (name, user) in users {
            for id in user.keys.keys() {
                if inner.owners.insert(id.clone(), name.clone()).is_some() {
                    return None;
                }
            }
            inner.policy_bytes += user.policies.values().map(String::len).sum::<usize>();
            if inner.by_name.insert(name, Arc::new(user)).is_some() {
                return None;
            }
        }
        Some(Self(Arc::new(inner)))
    }

    /// Log index of the last command that changed a user; 0 if there never was one. In one cluster, users of the same
    /// version are the same.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The user of that name.
    pub fn get(&self, name: &UserName) -> Option<&User> {
        self.0.by_name.get(name).map(Arc::as_ref)
    }

    /// All users, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&UserName, &User)> {
        self.0.by_name.iter().map(|(name, user)| (name, &**user))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.by_name.is_empty()
    }

    /// Who owns the key of that id.
    pub fn owner(&self, key_id: &str) -> Option<&UserName> {
        self.0.owners.get(key_id)
    }
}

impl Catalog {
    /// The access key of that id, enabled or not, and whose it is.
    pub fn access_key(&self, id: &str) -> Option<(&UserName, &User, &AccessKey)> {
        let owner = self.users.owner(id)?;
        let user = self.users.get(owner)?;
        Some((owner, user, user.keys.get(id)?))
    }

    pub(crate) fn create_user(
        &mut self,
        log_index: u64,
        name: UserName,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        if self.users.get(&name).is_some() {
            return Err(Refusal::UserExists { user: name });
        }
        check("users", self.users.len() + 1, limits::MAX_USERS)?;
        let (policies, keys) = (BTreeMap::new(), BTreeMap::new());
        let user = User { account, created: now, policies, keys };
        let inner = self.changed_users(log_index);
        inner.by_name.insert(name, Arc::new(user));
        Ok(Change::Made)
    }

    /// Its keys and policies go with it.
    pub(crate) fn delete_user(
        &mut self,
        log_index: u64,
        name: UserName,
    ) -> Result<Change, Refusal> {
        if self.users.get(&name).is_none() {
            return Err(Refusal::UserNotFound { user: name });
        }
        let inner = self.changed_users(log_index);
        if let Some(gone) = inner.by_name.remove(&name) {
            gone.keys.keys().for_each(|id| drop(inner.owners.remove(id)));
            inner.policy_bytes -= gone.policies.values().map(String::len).sum::<usize>();
        }
        Ok(Change::Made)
    }

    pub(crate) fn create_access_key(
        &mut self,
        log_index: u64,
        user: UserName,
        id: String,
        sealed_secret: Vec<u8>,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let key = AccessKey { sealed_secret, enabled: true, created: now };
        let known = self.known_user(&user)?;
        match self.access_key(&id) {
            Some((owner, _, same)) if *owner == user && *same == key => {
                return Ok(Change::AlreadySo);
            }
            Some(_) => return Err(Refusal::AccessKeyExists { id }),
            None => check("access keys", known.keys.len() + 1, limits::MAX_ACCESS_KEYS)?,
        }
        let inner = self.changed_users(log_index);
        inner.owners.insert(id.clone(), user.clone());
        inner.user(&user).keys.insert(id, key);
        Ok(Change::Made)
    }

    pub(crate) fn set_access_key(
        &mut self,
        log_index: u64,
        id: String,
        enabled: bool,
    ) -> Result<Change, Refusal> {
        let owner = match self.access_key(&id) {
            None => return Err(Refusal::AccessKeyNotFound { id }),
            Some((_, _, key)) if key.enabled == enabled => return Ok(Change::AlreadySo),
            Some((owner, _, _)) => owner.clone(),
        };
        let user = self.changed_users(log_index).user(&owner);
        let key = user.keys.get_mut(&id).expect("its owner has the key");
        key.enabled = enabled;
        Ok(Change::Made)
    }

    pub(crate) fn delete_access_key(
        &mut self,
        log_index: u64,
        id: String,
    ) -> Result<Change, Refusal> {
        if self.users.owner(&id).is_none() {
            return Err(Refusal::AccessKeyNotFound { id });
        }
        let inner = self.changed_users(log_index);
        if let Some(owner) = inner.owners.remove(&id) {
            inner.user(&owner).keys.remove(&id);
        }
        Ok(Change::Made)
    }

    pub(crate) fn put_user_policy(
        &mut self,
        log_index: u64,
        user: UserName,
        name: String,
        document: String,
    ) -> Result<Change, Refusal> {
        let known = self.known_user(&user)?;
        let before = known.policies.get(&name);
        if before == Some(&document) {
            return Ok(Change::AlreadySo);
        }
        let characters = document.chars().count();
        check("characters of a policy", characters, limits::USER_POLICY_MAX_CHARACTERS)?;
        let policies = known.policies.len() + usize::from(before.is_none());
        check("policies of a user", policies, limits::MAX_USER_POLICIES)?;
        let others = self.users.0.policy_bytes - before.map_or(0, String::len);
        let bytes = others + document.len();
        check("bytes of all users' policies", bytes, limits::ALL_USER_POLICIES_MAX_BYTES)?;
        let inner = self.changed_users(log_index);
        inner.policy_bytes = bytes;
        inner.user(&user).policies.insert(name, document);
        Ok(Change::Made)
    }

    pub(crate) fn delete_user_policy(
        &mut self,
        log_index: u64,
        user: UserName,
        name: String,
    ) -> Result<Change, Refusal> {
        if !self.known_user(&user)?.policies.contains_key(&name) {
            return Err(Refusal::UserPolicyNotFound { user, name });
        }
        let inner = self.changed_users(log_index);
        let gone = inner.user(&user).policies.remove(&name);
        inner.policy_bytes -= gone.map_or(0, |document| document.len());
        Ok(Change::Made)
    }

    fn known_user(&self, name: &UserName) -> Result<&User, Refusal> {
        self.users.get(name).ok_or_else(|| Refusal::UserNotFound { user: name.clone() })
    }

    /// Users to change: from now on they have another version.
    fn changed_users(&mut self, log_index: u64) -> &mut Inner {
        let inner = Arc::make_mut(&mut self.users.0);
        inner.version = log_index;
        inner
    }

    /// Panics if a key has two owners or one that doesn't know it. Only commands that change users ask: others
    /// don't become slower with every user.
    pub(crate) fn assert_user_invariants(&self) {
        let inner = &*self.users.0;
        let mut keys = 0;
        for (name, user) in &inner.by_name {
            for id in user.keys.keys() {
                assert_eq!(inner.owners.get(id), Some(name), "access key {id} isn't {name}'s");
            }
            keys += user.keys.len();
        }
        assert_eq!(inner.owners.len(), keys, "an access key belongs to nobody");
    }
}

impl Inner {
    fn user(&mut self, name: &UserName) -> &mut User {
        Arc::make_mut(self.by_name.get_mut(name).expect("the command found the user"))
    }
}

fn check(what: &'static str, actual: usize, limit: usize) -> Result<(), Refusal> {
    let [actual, limit] = [actual, limit].map(|count| count as u64);
    if actual > limit { Err(Refusal::Limit { what, actual, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Command, Outcome};
    use crate::model::StreamMode;
    use crate::script::{NOW, Script};

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn create(user: &str) -> Command {
        Command::CreateUser { name: name(user), account: AccountId::default(), now: NOW }
    }

    fn delete(user: &str) -> Command {
        Command::DeleteUser { name: name(user) }
    }

    fn key(user: &str, id: &str) -> Command {
        let sealed_secret = format!("sealed for {id}").into_bytes();
        Command::CreateAccessKey { user: name(user), id: id.into(), sealed_secret, now: NOW }
    }

    fn set(id: &str, enabled: bool) -> Command {
        Command::SetAccessKey { id: id.into(), enabled }
    }

    fn put(user: &str, policy: &str, document: &str) -> Command {
        let document = document.into();
        Command::PutUserPolicy { user: name(user), name: policy.into(), document }
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
    fn a_user_takes_its_keys_and_policies_along_when_it_goes() {
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
        assert_eq!(script.refused(key("ann", "AKIA1")), exists, "it isn't as it was made");
        script.done(set("AKIA1", true));
        assert!(enabled(&script));
        let delete = Command::DeleteAccessKey { id: "AKIA1".into() };
        script.done(delete.clone());
        let not_found = Refusal::AccessKeyNotFound { id: "AKIA1".into() };
        assert_eq!(script.refused(delete), not_found);
        assert_eq!(script.refused(set("AKIA1", true)), not_found);
        script.done(key("bob", "AKIA1"));
        assert_eq!(owner(&script, "AKIA1").as_deref(), Some("bob"));
    }

    #[test]
    fn a_user_has_two_keys_and_ten_policies_at_most() {
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
    fn policies_go_one_by_one() {
        let mut script = script(&["ann"]);
        let delete = Command::DeleteUserPolicy { user: name("ann"), name: "p".into() };
        let not_found = Refusal::UserPolicyNotFound { user: name("ann"), name: "p".into() };
        assert_eq!(script.refused(delete.clone()), not_found);
        script.done(put("ann", "p", "{}"));
        script.done(put("ann", "q", "{}"));
        script.done(delete.clone());
        assert_eq!(script.refused(delete), not_found);
        let left: Vec<_> =
            script.catalog.users.get(&name("ann")).unwrap().policies.keys().collect();
        assert_eq!(left, ["q"]);
    }

    #[test]
    fn all_policies_together_have_a_limit_and_their_room_comes_back() {
        let mut script = script(&[]);
        let document = "ä".repeat(6_144);
        let fits = limits::ALL_USER_POLICIES_MAX_BYTES / document.len();
        let users: Vec<_> = (0..=fits / 10).map(|number| format!("u{number}")).collect();
        users.iter().for_each(|user| script.done(create(user)));
        let policy =
            |number: usize| put(&users[number / 10], &format!("p{}", number % 10), &document);
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
    fn changes_of_streams_leave_the_users_shared() {
        let mut script = script(&["ann"]);
        let before = script.catalog.users.clone();
        script.create_active("s", 1, StreamMode::Provisioned);
        assert!(Arc::ptr_eq(&before.0, &script.catalog.users.0));
        assert_eq!(before.version(), script.catalog.users.version());
        script.done(put("ann", "p", "{}"));
        assert_eq!(script.catalog.users.version(), script.catalog.version);
        assert!(before.get(&name("ann")).unwrap().policies.is_empty(), "copies stay as they are");
    }

    #[test]
    fn users_that_share_a_key_are_none() {
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
        fn any_commands_keep_keys_with_one_owner_and_the_same_users_come_of_their_parts(
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
                    4 => Command::DeleteAccessKey { id },
                    5 => put(&user, &id, &"x".repeat(usize::from(other))),
                    _ => Command::DeleteUserPolicy { user: name(&user), name: id },
                });
                let users = &script.catalog.users;
                let parts = users.iter().map(|(name, user)| (name.clone(), user.clone()));
                let made = Users::new(users.version(), parts);
                prop_assert_eq!(made.as_ref(), Some(users));
            }
        }
    }
}
