//! A service inside the gateway. [`Host`] holds the service and its rate limits. [`Hosted`] is the same without the
//! type of the service, so that the gateway can keep services of different types in one list.

use anabranch_aws::fault::Fault;
use futures::future::BoxFuture;

use crate::call_limits::CallLimits;
use crate::error::{Error, TOO_MUCH_IN_FLIGHT};
use crate::metrics::{GatewayMetrics, OperationMetrics};
use crate::response::Done;
use crate::run::{Call, Port, Received};
use crate::service::{Kind, Limit, Scope as _, Service, ServiceNames};

/// A service and its counters.
pub(crate) struct Host<S: Service> {
    pub service: S,
    /// `None` if the limits of the AWS service do not apply. Then only memory and disk limit calls.
    limits: Option<CallLimits<S::Subject>>,
    /// In the order of the table of operations.
    metrics: Vec<OperationMetrics>,
}

/// Index of a row in the table of operations of a hosted service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationIndex(usize);

#[cfg(test)]
impl OperationIndex {
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }
}

/// A hosted service without its type.
pub(crate) trait Hosted: Send + Sync {
    fn names(&self) -> ServiceNames;

    /// Finds the operation of that name. Names are compared byte by byte.
    fn find(&self, operation: &str) -> Option<OperationIndex>;

    /// Name of the operation in its table.
    fn name(&self, operation: OperationIndex) -> &'static str;

    /// Performs a call in the order of `run.rs`.
    fn perform<'a>(
        &'a self,
        port: Port<'a>,
        operation: OperationIndex,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<Done, Fault>>;

    /// The fault for an operation that the service does not have.
    fn unsupported(&self, operation: &str) -> Option<Fault>;

    fn kind(&self, operation: OperationIndex) -> Kind;

    fn metrics(&self, operation: OperationIndex) -> &OperationMetrics;

    /// The fault for an error of the gateway. If a byte budget is used up, the service decides the code.
    fn fault(&self, operation: Option<OperationIndex>, error: &Error) -> Fault;
}

impl<S: Service> Host<S> {
    /// Panics if the table of operations is not sorted by name: [`Hosted::find`] would miss some of them.
    pub(crate) fn new(service: S, has_limits: bool, metrics: &GatewayMetrics) -> Self {
        let is_sorted = S::OPERATIONS.is_sorted_by(|a, b| a.name < b.name);
        assert!(is_sorted, "the operations of {} are sorted by name", S::NAMES.target);
        let metrics = S::OPERATIONS.iter().map(|row| metrics.operation(row.name)).collect();
        Self { service, limits: has_limits.then(CallLimits::default), metrics }
    }

    /// Counts a call if limits apply. `subject` is `None` if all calls of the account count together.
    pub(crate) fn count(
        &self,
        call: &Call<'_, S>,
        limit: Limit<S::Scope>,
        subject: Option<S::Subject>,
    ) -> Result<(), Fault> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let (name, now) = (call.operation.name, call.port.platform.clock.now());
        if limits.take(name, subject, limit.per_second, now) {
            return Ok(());
        }
        let times = limit.per_second;
        let each = limit.scope.map_or("", |scope| scope.text());
        let message = format!("Rate exceeded: {name} may be called {times} times a second{each}.");
        Err(S::throttled(call.operation.kind, message))
    }
}

impl<S: Service> Hosted for Host<S> {
    fn names(&self) -> ServiceNames {
        S::NAMES
    }

    fn find(&self, operation: &str) -> Option<OperationIndex> {
        let found = S::OPERATIONS.binary_search_by(|row| row.name.cmp(operation));
        found.ok().map(OperationIndex)
    }

    fn name(&self, operation: OperationIndex) -> &'static str {
        S::OPERATIONS[operation.0].name
    }

    fn perform<'a>(
        &'a self,
        port: Port<'a>,
        operation: OperationIndex,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<Done, Fault>> {
        let operation = &S::OPERATIONS[operation.0];
        (operation.perform)(Call { port, host: self, operation, received }).future()
    }

    fn unsupported(&self, operation: &str) -> Option<Fault> {
        S::unsupported(operation)
    }

    fn kind(&self, operation: OperationIndex) -> Kind {
        S::OPERATIONS[operation.0].kind
    }

    fn metrics(&self, operation: OperationIndex) -> &OperationMetrics {
        &self.metrics[operation.0]
    }

    fn fault(&self, operation: Option<OperationIndex>, error: &Error) -> Fault {
        if *error != Error::Throttled {
            return error.fault();
        }
        let kind = operation.map_or(Kind::Control, |index| self.kind(index));
        S::throttled(kind, TOO_MUCH_IN_FLIGHT.to_owned())
    }
}
