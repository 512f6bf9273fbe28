//! Makes the name of a call that puts records. Leaders of shards recognise a retry of the call by its name
//! (ADR-0008).
//!
//! Order of events: the client sends an invocation id (`amz-sdk-invocation-id`) that is the same for each attempt of
//! a call. When the caller is known and the records are decoded, the gateway makes one name from caller, invocation
//! id and records. That name is the producer of each batch of the call.
//!
//! So a retry is recognised only if the same caller sends the same records. All gateways of a cluster make the same
//! name, because they have the same token key. Two different calls have the same name with a chance of about 2^-108,
//! whoever chose them: POLYVAL under a secret key maps them to different values. The cipher hides these values from
//! clients.

use std::borrow::Cow;

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::aes::cipher::KeyInit;
use anabranch_access::signature;
use anabranch_gateway::token::derived_blocks;
use anabranch_gateway::{Identity, TokenKey};
use anabranch_shard::Producer;
use anabranch_types::HashKey;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use crate::append::{Entry, NamedCall};
use crate::kinesis::Context;

/// Header with an id that is the same for each attempt of one call of an SDK.
const INVOCATION_ID: &str = "amz-sdk-invocation-id";
const MAX_INVOCATION_ID_BYTES: usize = 64;
/// Label in the place of a salt. It never equals the salt of a token, except by chance, because salts are random.
const LABEL: &[u8; 15] = b"names of calls1";

/// The id of a call.
#[derive(Clone, Debug)]
pub(crate) enum Invocation<'a> {
    /// The client's id, 1 to 64 bytes. The client may send the call again with this id.
    Named(&'a [u8]),
    /// The random id of the request, if the client sends no usable id. The cluster itself may still send a batch again
    /// if a response is lost, and the gateway may run the call a second time.
    Unnamed([u8; 16]),
}

impl<'a> Invocation<'a> {
    /// The invocation that the headers of a request name, or else the request itself.
    pub(crate) fn of(headers: &'a HeaderMap, request_id: [u8; 16]) -> Self {
        let named = headers.get(INVOCATION_ID).map(|value| value.as_bytes());
        named
            .filter(|id| (1..=MAX_INVOCATION_ID_BYTES).contains(&id.len()))
            .map_or(Self::Unnamed(request_id), Self::Named)
    }

    /// Bytes of the id.
    pub(crate) fn id(&self) -> &[u8] {
        match self {
            Self::Named(id) => id,
            Self::Unnamed(id) => id,
        }
    }

    /// Whether the client may send the call again with this id.
    pub(crate) const fn may_be_retried(&self) -> bool {
        matches!(self, Self::Named(_))
    }
}

/// The caller: the user whose signature was verified, or else the access key that the request names.
fn caller<'a>(identity: Option<&'a Identity>, parts: &'a Parts) -> Cow<'a, str> {
    if let Some(identity) = identity {
        return Cow::Borrowed(identity.caller().arn);
    }
    let authorization = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    signature::claimed_key_id(authorization.unwrap_or_default(), query)
}

/// Makes the name of a call with these records.
pub(crate) fn named_call(
    cx: &Context<'_>,
    invocation: &Invocation<'_>,
    entries: &[Entry<'_>],
) -> NamedCall {
    let caller = caller(cx.identity, cx.parts);
    let producer = cx.service.call_names.producer(&caller, invocation, entries);
    NamedCall { producer, may_be_retried: invocation.may_be_retried() }
}

/// Makes names of calls with keys that come from the token key.
#[derive(Clone)]
pub(crate) struct CallNames {
    hash: Polyval,
    cipher: Aes256,
}

impl CallNames {
    /// All gateways with this token key make the same names.
    pub(crate) fn new(key: &TokenKey) -> Self {
        let [hash, first, second] = derived_blocks(key, LABEL);
        let cipher = [first, second].concat();
        let cipher = Aes256::new_from_slice(&cipher).expect("two blocks are a key of AES-256");
        Self { hash: Polyval::new(&hash.into()), cipher }
    }

    /// The producer of the batches of a call.
    pub(crate) fn producer(
        &self,
        caller: &str,
        invocation: &Invocation<'_>,
        entries: &[Entry<'_>],
    ) -> Producer {
        let id = match invocation {
            Invocation::Named(id) => self.name(caller, id, entries),
            Invocation::Unnamed(id) => *id,
        };
        Producer { id: Bytes::copy_from_slice(&id), sequence: 0 }
    }

    /// Hashes the parts. The length of each part comes before the part, so two different calls never give the same
    /// bytes. The first block holds the length of the invocation id, which is not 0, because POLYVAL ignores leading
    /// zero blocks.
    fn name(&self, caller: &str, invocation: &[u8], entries: &[Entry<'_>]) -> [u8; 16] {
        let mut hash = self.hash.clone();
        hash.update_padded(&block(invocation.len(), caller.len()));
        hash.update_padded(invocation);
        hash.update_padded(caller.as_bytes());
        for Entry { partition_key, hash: HashKey(key), data } in entries {
            let (form, data) = data.as_sent();
            hash.update_padded(&block(partition_key.len() << 1 | usize::from(form), data.len()));
            hash.update_padded(&key.to_be_bytes());
            hash.update_padded(partition_key.as_bytes());
            hash.update_padded(data);
        }
        let mut name = hash.finalize();
        self.cipher.encrypt_block(&mut name);
        name.into()
    }
}

/// Packs two lengths into a block.
fn block(first: usize, second: usize) -> [u8; 16] {
    (u128::from(first as u64) << 64 | u128::from(second as u64)).to_be_bytes()
}

impl std::fmt::Debug for CallNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallNames(..)")
    }
}

#[cfg(test)]
mod cost;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use anabranch_aws::wire::Blob;

    /// Caller, invocation id, and for each record its partition key, hash key and data.
    type TestCall = (String, Vec<u8>, Vec<(String, u128, Vec<u8>)>);

    fn name(names: &CallNames, (caller, id, records): &TestCall) -> Bytes {
        let blobs: Vec<_> =
            records.iter().map(|(.., data)| Blob::Raw(Cow::Borrowed(&data[..]))).collect();
        let entries = records.iter().zip(&blobs).map(|((key, hash, _), data)| Entry {
            partition_key: key,
            hash: HashKey(*hash),
            data,
        });
        let entries: Vec<_> = entries.collect();
        names.producer(caller, &Invocation::Named(id), &entries).id
    }

    fn test_calls() -> impl Strategy<Value = TestCall> {
        // Few and short parts, so that many calls differ only in the position where a part ends.
        let record = ("[ab]{0,2}", 0u128..2, vec(0u8..2, 0..20));
        ("[ab]{0,2}", vec(97u8..99, 1..3), vec(record, 0..3))
    }

    proptest! {
        #[test]
        fn two_calls_have_the_same_name_only_if_they_are_equal(calls in vec(test_calls(), 2..40)) {
            let names = CallNames::new(&TokenKey::new([7; 32]));
            let different: HashSet<_> = calls.iter().collect();
            let named: HashSet<_> = calls.iter().map(|call| name(&names, call)).collect();
            prop_assert_eq!(named.len(), different.len());
        }
    }

    #[test]
    fn only_gateways_of_one_cluster_make_the_same_name() {
        let call = ("ann".to_owned(), b"id".to_vec(), vec![("k".to_owned(), 7, b"data".to_vec())]);
        let of = |key| name(&CallNames::new(&TokenKey::new(key)), &call);
        assert_eq!(of([7; 32]), of([7; 32]));
        assert_ne!(of([7; 32]), of([8; 32]));
    }

    #[test]
    fn a_call_without_an_id_is_named_by_its_request_also_if_it_runs_twice() {
        let (headers, names) = (HeaderMap::new(), CallNames::new(&TokenKey::new([7; 32])));
        let producer = |request| names.producer("", &Invocation::of(&headers, request), &[]);
        assert!(!Invocation::of(&headers, [1; 16]).may_be_retried());
        assert_eq!(producer([1; 16]), producer([1; 16]));
        assert_ne!(producer([1; 16]), producer([2; 16]));
    }
}
