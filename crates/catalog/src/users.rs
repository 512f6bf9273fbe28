//! Users, their access keys and their policies (ADR-0018).
//!
//! The catalog stores secrets sealed and policies as they were written. `anabranch_access` opens secrets and reads
//! policies; nothing here does.
//!
//! Users have a version of their own. They are shared between versions of the catalog that do not differ in users, so
//! changes of streams neither copy users nor send them again. An access key always belongs to exactly one user.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_types::{AccountId, Timestamp, UserName, limits};

use crate::apply::Change;
use crate::model::Catalog;
use crate::outcome::Refusal;

/// All users. Cheap to clone: a clone shares the users until one of the two changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Arc<Inner>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inner {
    version: u64,
    by_name: BTreeMap<UserName, Arc<User>>,
    /// Owners of access keys by key id. Invariant: the ids are exactly those of the keys of all users.
    owners: BTreeMap<String, UserName>,
    /// Bytes of all policy documents, to check their limit without reading them.
    policy_bytes: usize,
}

/// A user, whose access keys sign requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Account of the user.
    pub account: AccountId,
    /// Creation time, by the proposer's clock.
    pub created: Timestamp,
    /// Policy documents by name, as they were written.
    pub policies: BTreeMap<String, String>,
    /// Access keys by id. An id is `AKIA` and 16 of `[A-Z2-7]`.
    pub keys: BTreeMap<String, AccessKey>,
}

/// An access key: its secret signs requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// The secret, sealed with the cluster's key for this key id (`anabranch_access::SecretSealer`).
    pub sealed_secret: Vec<u8>,
    /// Whether requests that it signs are accepted.
    pub enabled: bool,
    /// Creation time, by the proposer's clock.
    pub created: Timestamp,
}

/// A change to users, their access keys and their policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCommand {
    /// An operator creates a user, without access keys and policies.
    Create {
        /// Name of the user, unique in the cluster.
        name: UserName,
        /// Account of the user.
        account: AccountId,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// An operator deletes a user with its access keys and policies.
    Delete {
        /// Name of the user.
        name: UserName,
    },
    /// An operator gives a user an access key, which is enabled.
    CreateAccessKey {
        /// Name of the user.
        user: UserName,
        /// Id of the access key, unique in the cluster.
        id: String,
        /// The secret, sealed for this id.
        sealed_secret: Vec<u8>,
        /// Time by the proposer's clock.
        now: Timestamp,
    },
    /// An operator enables or disables an access key.
    SetAccessKey {
        /// Id of the access key.
        id: String,
        /// Whether requests that it signs are accepted from now on.
        enabled: bool,
    },
    /// An operator deletes an access key.
    DeleteAccessKey {
        /// Id of the access key.
        id: String,
    },
    /// An operator gives a user a policy. It replaces the policy of the same name.
    PutPolicy {
        /// Name of the user.
        user: UserName,
        /// Name of the policy.
        name: String,
        /// The JSON document, at most 6,144 characters.
        document: String,
    },
    /// An operator takes a policy from a user.
    DeletePolicy {
        /// Name of the user.
        user: UserName,
        /// Name of the policy.
        name: String,
    },
}

impl UserCommand {
    pub(crate) fn apply(self, catalog: &mut Catalog, log_index: u64) -> Result<Change, Refusal> {
        match self {
            Self::Create { name, account, now } => {
                catalog.create_user(log_index, name, account, now)
            }
            Self::Delete { name } => catalog.delete_user(log_index, name),
            Self::CreateAccessKey { user, id, sealed_secret, now } => {
                catalog.create_access_key(log_index, user, id, sealed_secret, now)
            }
            Self::SetAccessKey { id, enabled } => catalog.set_access_key(log_index, id, enabled),
            Self::DeleteAccessKey { id } => catalog.delete_access_key(log_index, id),
            Self::PutPolicy { user, name, document } => {
                catalog.put_user_policy(log_index, user, name, document)
            }
            Self::DeletePolicy { user, name } => catalog.delete_user_policy(log_index, user, name),
        }
    }
}

impl Users {
    /// These users, as they were after the command at log index `version`.
    ///
    /// `None` if two users have the same name or the same access key.
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

    /// Log index of the last command that changed users; 0 if there was none. In one cluster, users of the same
    /// version are equal.
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

    /// Number of users.
    pub fn len(&self) -> usize {
        self.0.by_name.len()
    }

    /// Whether there are no users.
    pub fn is_empty(&self) -> bool {
        self.0.by_name.is_empty()
    }

    /// Name of the user that has the access key of that id.
    pub fn owner(&self, key_id: &str) -> Option<&UserName> {
        self.0.owners.get(key_id)
    }
}

impl Catalog {
    /// The access key of that id, enabled or not, with its user.
    pub fn access_key(&self, id: &str) -> Option<(&UserName, &User, &AccessKey)> {
        let owner = self.users.owner(id)?;
        let user = self.users.get(owner)?;
        Some((owner, user, user.keys.get(id)?))
    }

    fn create_user(
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

    fn delete_user(&mut self, log_index: u64, name: UserName) -> Result<Change, Refusal> {
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

    fn create_access_key(
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
            // The same command again, of an operator who did not get the answer to the first one.
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

    fn set_access_key(
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

    fn delete_access_key(&mut self, log_index: u64, id: String) -> Result<Change, Refusal> {
        if self.users.owner(&id).is_none() {
            return Err(Refusal::AccessKeyNotFound { id });
        }
        let inner = self.changed_users(log_index);
        if let Some(owner) = inner.owners.remove(&id) {
            inner.user(&owner).keys.remove(&id);
        }
        Ok(Change::Made)
    }

    fn put_user_policy(
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

    fn delete_user_policy(
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

    /// The users, to change them. Gives them the version `log_index`, and copies what older versions of the catalog
    /// share.
    fn changed_users(&mut self, log_index: u64) -> &mut Inner {
        let inner = Arc::make_mut(&mut self.users.0);
        inner.version = log_index;
        inner
    }

    /// Checks that `owners` has exactly the access keys of all users.
    ///
    /// # Panics
    /// If it has not.
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
mod tests;
