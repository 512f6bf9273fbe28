//! The order of checks, the same for every operation of every service. No service can change it: a row of a table of
//! operations holds a function that returns [`Performed`], and only this file can make one.
//!
//! ```text
//! handle.rs: method, content type, body, operation, signature          (before a call comes here)
//! admit:    1. the body is in the format of the protocol   else SerializationException
//!           2. the caller is known                         else the error of the signature
//!           3. limit of the account for this operation
//!           4. types of members                            SerializationException
//!              constraints                                 ValidationException
//!           5. control operations: the newest version of the catalog
//!           6. the target that the request names
//!           7. policies                                    AccessDeniedException
//!           8. limit of the stream, shard or consumer
//! attempt:  9. the operation itself, with the target of step 6
//! ```
//!
//! A data operation skips step 5. If the catalog version of this node makes step 7 or 9 refuse the call, the gateway
//! checks it again with the newest version. Otherwise this gateway could deny a change that another gateway has
//! acknowledged.

use std::fmt;

use anabranch_aws::constraints;
use anabranch_aws::fault::Fault;
use anabranch_aws::protocol::Protocol;
use anabranch_aws::wire::{self, DecodeError, Writer};
use futures::future::BoxFuture;
use http::request::Parts;
use serde::Deserialize;

use crate::auth::{Authenticator, Caller, KnownCaller, Peer};
use crate::authorization::Authorization;
use crate::cooperative::cooperatively;
use crate::error::{Error, TOO_MUCH_IN_FLIGHT};
use crate::host::Host;
use crate::metrics::{PutStage, PutStages};
use crate::platform::Platform;
use crate::response::{Done, Encoded};
use crate::service::{
    Context, EventSource, Operation, Request, Response, Service, ServiceError as _, Target,
};

/// Responses up to this size are not counted against the budget: the number of streams per connection bounds them.
const UNCOUNTED_RESPONSE_BYTES: usize = 1024;

/// One call of an operation, before its body is decoded.
pub struct Call<'a, S: Service> {
    pub(crate) port: Port<'a>,
    pub(crate) host: &'a Host<S>,
    pub(crate) operation: &'static Operation<S>,
    pub(crate) received: Received<'a>,
}

/// The parts of the gateway that a call needs.
#[derive(Clone, Copy)]
pub(crate) struct Port<'a> {
    pub platform: &'a Platform,
    /// `None` if any credentials are accepted.
    pub authenticator: Option<&'a Authenticator>,
}

/// A request whose operation is known.
pub(crate) struct Received<'a> {
    /// Random id of the request.
    pub id: [u8; 16],
    pub protocol: Protocol,
    pub body: &'a [u8],
    pub parts: &'a Parts,
    pub peer: Peer,
    /// The caller, or why its signature is refused. A malformed body is reported first.
    pub caller: Result<Caller, Error>,
    /// Set for calls that write records.
    pub stages: Option<PutStages<'a>>,
}

impl Received<'_> {
    /// A stage of a put is over. Nothing for other calls.
    fn ended(&mut self, stage: PutStage) {
        if let Some(stages) = &mut self.stages {
            stages.ended(stage);
        }
    }
}

/// A call that will run in the order of this file.
pub struct Performed<'a>(BoxFuture<'a, Result<Done, Fault>>);

impl<'a> Performed<'a> {
    /// Boxed, because the futures of the operations differ much in size.
    pub(crate) fn future(self) -> BoxFuture<'a, Result<Done, Fault>> {
        self.0
    }
}

/// Performs a call whose response has one body.
pub fn run<'a, S, R>(mut call: Call<'a, S>) -> Performed<'a>
where
    S: Service,
    R: Request<S, Response: Response> + Deserialize<'a> + 'a,
{
    Performed(Box::pin(async move {
        let response = call.perform::<R>().await?;
        let done = call.encode(response)?;
        call.received.ended(PutStage::Encode);
        Ok(done)
    }))
}

/// Performs a call whose response is an event stream. If the call is refused, the response is an ordinary error
/// response.
pub fn run_events<'a, S, R>(mut call: Call<'a, S>) -> Performed<'a>
where
    S: Service,
    R: Request<S, Response: EventSource> + Deserialize<'a> + 'a,
{
    Performed(Box::pin(async move {
        let source = call.perform::<R>().await?;
        Ok(Done::Events(source.events(call.received.protocol)))
    }))
}

/// A request that passed all checks and has not run yet.
struct Admitted<S: Service, R: Request<S>> {
    request: R,
    target: R::Target,
    /// `None` if any credentials are accepted.
    caller: Option<KnownCaller>,
}

impl<'a, S: Service> Call<'a, S> {
    async fn perform<R: Request<S> + Deserialize<'a>>(&mut self) -> Result<R::Response, Fault> {
        let admitted = self.admit::<R>().await?;
        self.received.ended(PutStage::Decode);
        let response = self.attempt(&admitted).await?;
        self.received.ended(PutStage::Append);
        Ok(response)
    }

    async fn admit<R: Request<S> + Deserialize<'a>>(&self) -> Result<Admitted<S, R>, Fault> {
        let Received { protocol, body, .. } = self.received;
        let decoded = cooperatively(body.len(), || wire::decode::<R>(protocol.format(), body));
        if let Err(error @ DecodeError::Malformed(_)) = decoded {
            return Err(Error::from(error).fault());
        }
        let Caller(caller) = self.received.caller.clone().map_err(|error| error.fault())?;
        // Only calls of known callers count. Otherwise strangers could use up the calls of the account.
        self.check_account_limit()?;
        let request = decoded.map_err(|error| Error::from(error).fault())?;
        constraints::check(&request).map_err(|violations| Error::from(violations).fault())?;
        let platform = self.port.platform;
        if self.operation.kind.needs_newest() && !platform.newest.reach(&platform.cluster).await {
            return Err(Error::Internal.fault());
        }
        let target = request.target(&self.host.service).map_err(|error| error.fault())?;
        let admitted = Admitted { request, target, caller };
        self.authorize(&admitted).await?;
        self.check_target_limit(&admitted.target)?;
        Ok(admitted)
    }

    async fn attempt<R: Request<S>>(
        &self,
        admitted: &Admitted<S, R>,
    ) -> Result<R::Response, Fault> {
        let identity = admitted.caller.as_ref().map(|known| &*known.identity);
        let Received { id, parts, .. } = self.received;
        let cx = Context { service: &self.host.service, identity, parts, request_id: id };
        let Admitted { request, target, .. } = admitted;
        match request.run(&cx, target).await {
            Err(error) if !self.operation.kind.needs_newest() && error.may_be_outdated() => {
                let platform = self.port.platform;
                let newest = platform.newest.view(&platform.cluster).await;
                newest.ok_or_else(|| Error::Internal.fault())?;
                // Authorize again: the old version may lack the policies and tags of a new stream.
                self.authorize(admitted).await?;
                request.run(&cx, target).await.map_err(|error| error.fault())
            }
            done => done.map_err(|error| error.fault()),
        }
    }

    /// Checks that policies allow the call. No policy is evaluated if any credentials are accepted.
    async fn authorize<R: Request<S>>(&self, admitted: &Admitted<S, R>) -> Result<(), Fault> {
        if !R::NEEDS_PERMISSION {
            return Ok(());
        }
        let (Some(caller), Some(authenticator)) = (&admitted.caller, self.port.authenticator)
        else {
            return Ok(());
        };
        let (service, target) = (&self.host.service, &admitted.target);
        let authorization = Authorization {
            platform: self.port.platform,
            authenticator,
            parts: self.received.parts,
            peer: self.received.peer,
            actions: S::NAMES.actions,
            operation: self.operation.name,
            tags: &admitted.request.tags(),
        };
        authorization.check(caller, service, target).await
    }

    fn check_account_limit(&self) -> Result<(), Fault> {
        match self.operation.limit {
            Some(limit) if limit.scope.is_none() => self.host.count(self, limit, None),
            _ => Ok(()),
        }
    }

    fn check_target_limit<T: Target<S>>(&self, target: &T) -> Result<(), Fault> {
        let Some((limit, scope)) =
            self.operation.limit.and_then(|limit| Some((limit, limit.scope?)))
        else {
            return Ok(());
        };
        match target.subject(scope, &self.port.platform.cluster.view()) {
            Some(subject) => self.host.count(self, limit, Some(subject)),
            None => Ok(()),
        }
    }

    fn encode(&self, response: impl Response) -> Result<Done, Fault> {
        let format = self.received.protocol.format();
        let mut writer = Writer::new(format, response.expected_bytes());
        response.write(&mut writer);
        let bytes = writer.finish();
        let reports_change = response.reports_change();
        let permit = match response.into_permit() {
            None if bytes.len() > UNCOUNTED_RESPONSE_BYTES => {
                let permit = self.port.platform.responses.take(bytes.len());
                if permit.is_none() && !reports_change {
                    return Err(S::throttled(self.operation.kind, TOO_MUCH_IN_FLIGHT.to_owned()));
                }
                permit
            }
            permit => permit,
        };
        Ok(Done::Response(Encoded { bytes, permit }))
    }
}

impl<S: Service> fmt::Debug for Call<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("operation", &self.operation.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Performed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Performed(..)")
    }
}
