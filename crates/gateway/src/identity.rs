//! Cache of users with their compiled policies. An entry is valid until any user changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_access::policy::{Caller, Kind, Policy};
use anabranch_catalog::{Catalog, User};
use anabranch_types::{AccountId, Timestamp, UserName};

/// Largest number of cached users. A full cache is emptied.
const MAX_IDENTITIES: usize = 1024;

/// A user of one version of the catalog.
#[derive(Debug)]
pub struct Identity {
    pub(crate) user: UserName,
    pub(crate) account: AccountId,
    /// `arn:aws:iam::<account>:user/<name>`, or `arn:aws:iam::<account>:root`.
    arn: String,
    is_root: bool,
    created: Timestamp,
    /// Compiled policies of the user. Empty if any of them cannot be compiled.
    pub(crate) policies: Vec<Policy>,
}

/// Cached users, by name.
#[derive(Debug, Default)]
pub(crate) struct Identities(Mutex<CachedUsers>);

#[derive(Debug, Default)]
struct CachedUsers {
    /// Version of the users that the entries were compiled from.
    version: u64,
    by_name: HashMap<UserName, Arc<Identity>>,
}

impl Identities {
    /// Finds the user of that name in this version of the catalog.
    pub(crate) fn of(&self, catalog: &Catalog, name: &UserName) -> Option<Arc<Identity>> {
        let version = catalog.users.version();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version == version
            && let Some(identity) = known.by_name.get(name)
        {
            return Some(Arc::clone(identity));
        }
        let identity = Arc::new(Identity::new(name, catalog.users.get(name)?));
        if known.version < version || known.by_name.len() >= MAX_IDENTITIES {
            *known = CachedUsers { version, by_name: HashMap::new() };
        }
        // A call with an older version of the catalog does not change the cache.
        if known.version == version {
            known.by_name.insert(name.clone(), Arc::clone(&identity));
        }
        Some(identity)
    }
}

impl Identity {
    fn new(name: &UserName, user: &User) -> Self {
        let is_root = name.is_root();
        let account = user.account.clone();
        let arn = match is_root {
            true => format!("arn:aws:iam::{account}:root"),
            false => format!("arn:aws:iam::{account}:user/{name}"),
        };
        let compiled = user.policies.iter().map(|(policy, document)| {
            Policy::parse(document, Kind::Identity)
                .inspect_err(|error| tracing::warn!(%name, policy, %error, "policy cannot be read"))
        });
        // A policy that cannot be compiled might contain a denial. So the user may do nothing.
        let policies = compiled.collect::<Result<_, _>>().unwrap_or_default();
        let (user, created) = (name.clone(), user.created);
        Self { user, account, arn, is_root, created, policies }
    }

    /// Account of the user.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// `arn:aws:iam::<account>:user/<name>`, or `arn:aws:iam::<account>:root`.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Whether this is the root user of the account.
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// When the user was created. With the ARN it distinguishes the user from earlier users of that name.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The user as policy evaluation needs it.
    pub fn caller(&self) -> Caller<'_> {
        Caller { account: self.account.as_str(), arn: &self.arn, is_root: self.is_root }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use anabranch_catalog::Users;

    fn catalog(version: u64, name: &str, document: &str) -> Catalog {
        let user = User {
            account: "111111111111".parse().unwrap(),
            created: Timestamp::default(),
            policies: BTreeMap::from([("p".to_owned(), document.to_owned())]),
            keys: BTreeMap::new(),
        };
        let users = Users::new(version, [(name.parse().unwrap(), user)]).unwrap();
        Catalog { users, ..Catalog::default() }
    }

    const ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

    #[test]
    fn a_user_is_compiled_once_for_each_version_of_the_users() {
        let (identities, name) = (Identities::default(), "ann".parse().unwrap());
        let first = identities.of(&catalog(1, "ann", ALL), &name).unwrap();
        assert!(Arc::ptr_eq(&first, &identities.of(&catalog(1, "ann", ALL), &name).unwrap()));
        let second = identities.of(&catalog(2, "ann", "{}"), &name).unwrap();
        assert_eq!((first.policies.len(), second.policies.len()), (1, 0));
        assert_eq!(identities.of(&catalog(1, "ann", ALL), &name).unwrap().policies.len(), 1);
        assert!(Arc::ptr_eq(&second, &identities.of(&catalog(2, "ann", "{}"), &name).unwrap()));
        assert!(identities.of(&catalog(3, "bob", ALL), &name).is_none());
    }

    #[test]
    fn the_user_named_root_is_the_root_user_of_its_account() {
        let identities = Identities::default();
        let root = identities.of(&catalog(1, "root", ALL), &"root".parse().unwrap()).unwrap();
        assert!(root.caller().is_root);
        assert_eq!(root.caller().arn, "arn:aws:iam::111111111111:root");
    }
}
