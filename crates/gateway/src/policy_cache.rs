//! Cache of compiled resource policies. An entry is valid while the text of the policy is the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_access::policy::{Kind, ParseError, Policy};

/// Largest number of cached policies. A full cache is emptied.
const MAX_DOCUMENTS: usize = 1024;

/// Compiled policies by the ARN of the resource.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache(Mutex<HashMap<String, Document>>);

#[derive(Debug)]
struct Document {
    text: String,
    policy: Arc<Policy>,
}

impl PolicyCache {
    /// The compiled form of `text`, the policy that is attached to `arn`.
    ///
    /// # Errors
    /// Those of [`Policy::parse`].
    pub(crate) fn compiled(&self, arn: &str, text: &str) -> Result<Arc<Policy>, ParseError> {
        let mut documents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = documents.get(arn).filter(|known| known.text == text) {
            return Ok(Arc::clone(&known.policy));
        }
        let policy = Arc::new(Policy::parse(text, Kind::Resource)?);
        if documents.len() >= MAX_DOCUMENTS {
            documents.clear();
        }
        let document = Document { text: text.to_owned(), policy: Arc::clone(&policy) };
        documents.insert(arn.to_owned(), document);
        Ok(policy)
    }
}
