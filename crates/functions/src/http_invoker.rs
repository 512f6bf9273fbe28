//! Calls functions over HTTP: a POST of the event to the function's URL.
//!
//! | response | meaning |
//! | --- | --- |
//! | 2xx | the function returned the body |
//! | 2xx with `X-Amz-Function-Error` | the function failed |
//! | 429, 503, no connection, a host that is not allowed | it was not called; no attempt is used |
//! | any other status, a timeout, a broken connection, more than 6 MB | the call failed |
//!
//! Source of the headers: AWS Lambda API reference, Invoke.

use std::sync::Arc;

use anabranch_outbound::{Client, Error, Request, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use uuid::Uuid;

use crate::engine::Invoker;
use crate::function::Function;
use crate::lanes::Answer;
use crate::limits::PAYLOAD_BYTES;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
/// Kind of an error that the function did not name.
const UNHANDLED: &str = "Unhandled";

/// Calls functions over HTTP.
#[derive(Clone, Debug)]
pub struct HttpInvoker {
    client: Client,
}

impl HttpInvoker {
    /// Calls functions with `client`, which decides what may be reached.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Invoker for HttpInvoker {
    fn call(
        &self,
        function: Arc<Function>,
        request_id: Uuid,
        event: Bytes,
    ) -> BoxFuture<'static, Answer> {
        let client = self.client.clone();
        async move {
            let request = Request {
                url: function.url.clone(),
                headers: headers(&function, request_id),
                body: event,
                deadline: function.timeout,
                max_response_bytes: PAYLOAD_BYTES,
            };
            match client.post(request).await {
                Ok(response) => answer(response),
                Err(error) => {
                    tracing::info!(%request_id, %error, "a call of a function failed");
                    failure(&error)
                }
            }
        }
        .boxed()
    }
}

fn headers(function: &Function, request_id: Uuid) -> HeaderMap {
    let mut headers = function.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(INVOCATION_TYPE, HeaderValue::from_static("RequestResponse"));
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    headers
}

fn answer(response: Response) -> Answer {
    let status = response.status;
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return Answer::NotCalled;
    }
    if !status.is_success() {
        return Answer::Failed { status: status.as_u16(), error: UNHANDLED.into() };
    }
    match response.headers.get(FUNCTION_ERROR) {
        Some(error) => {
            let error = error.to_str().ok().filter(|text| (1..=64).contains(&text.len()));
            Answer::Failed { status: status.as_u16(), error: error.unwrap_or(UNHANDLED).into() }
        }
        None => Answer::Returned { status: status.as_u16(), payload: response.body },
    }
}

fn failure(error: &Error) -> Answer {
    if error.is_unsent() {
        Answer::NotCalled
    } else {
        // As Lambda answers for a function that does not return.
        Answer::Failed { status: 200, error: UNHANDLED.into() }
    }
}
