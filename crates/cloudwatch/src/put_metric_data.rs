//! PutMetricData: adds values of metrics to the series of an application.
//!
//! The members are checked after policies have allowed the call, and all of them before any is counted: a call with one
//! wrong metric changes nothing.

use anabranch_aws::constraints::{Checks, Constrained};
use anabranch_aws::wire::{List, Structure, Text, Writer};
use anabranch_gateway::service::{Context, Request, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cloudwatch::{AllMetrics, CloudWatch};
use crate::datum::{MetricDatum, Sample, checked_text};
use crate::error::Error;

/// `PutMetricDataInput` of the service model.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutMetricData<'a> {
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    metric_data: Option<List<Structure<MetricDatum<'a>>, MAX_METRICS>>,
    entity_metric_data: Option<IgnoredAny>,
}

/// Source: CloudWatch API reference, PutMetricData.
const MAX_METRICS: usize = 1000;
const MAX_NAMESPACE_CHARACTERS: usize = 255;
/// Beginning of the namespaces of AWS services.
const RESERVED: &str = "AWS/";

/// The model has no constraints that lead to a `ValidationException`: CloudWatch has codes of its own.
impl Constrained for PutMetricData<'_> {
    fn check(&self, _: &mut Checks) {}
}

impl PutMetricData<'_> {
    fn application(&self) -> Result<&str, Error> {
        let namespace = checked_text("Namespace", &self.namespace, MAX_NAMESPACE_CHARACTERS)?;
        if namespace.starts_with(':') || namespace.starts_with(RESERVED) {
            return Err(Error::invalid(namespace, "Namespace"));
        }
        Ok(namespace)
    }

    fn samples(&self, cx: &Context<'_, CloudWatch>) -> Result<Vec<Sample<'_>>, Error> {
        if self.entity_metric_data.is_some() {
            return Err(Error::UnsupportedParameter("EntityMetricData"));
        }
        let metrics = self.metric_data.as_ref().filter(|metrics| metrics.count() > 0);
        let metrics = metrics.ok_or_else(|| Error::required("MetricData"))?;
        if metrics.count() > MAX_METRICS {
            return Err(Error::Value(format!(
                "The collection MetricData must not have a size greater than {MAX_METRICS}."
            )));
        }
        let now = cx.service.clock.now();
        let metrics = metrics.members().iter().zip(1..);
        metrics.map(|(Structure(datum), number)| datum.sample(number, now)).collect()
    }
}

impl Request<CloudWatch> for PutMetricData<'_> {
    type Target = AllMetrics;
    type Response = Accepted;

    fn target(&self, _: &CloudWatch) -> Result<AllMetrics, Error> {
        Ok(AllMetrics)
    }

    async fn run(&self, cx: &Context<'_, CloudWatch>, _: &AllMetrics) -> Result<Accepted, Error> {
        let (application, samples) = (self.application()?, self.samples(cx)?);
        cx.service.applications.add(application, &samples, cx.service.clock.now());
        Ok(Accepted)
    }
}

/// A response without members.
#[derive(Debug)]
pub(crate) struct Accepted;

impl Response for Accepted {
    fn expected_bytes(&self) -> usize {
        2
    }

    fn write(&self, writer: &mut Writer) {
        writer.structure(|_| {});
    }

    fn reports_change(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
