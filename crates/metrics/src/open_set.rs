//! Metrics of one name whose label values come from outside of the program.
//!
//! The sets of the crate `prometheus` find a metric by a hash of its label values, one after the other: "app" and
//! "1Time" give the same as "app1" and "Time". For values that clients choose, a set here compares the values
//! themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::Opts;
use prometheus::core::{Collector, Desc, Metric as PrometheusMetric};
use prometheus::proto::{MetricFamily, MetricType};

/// What a set is made of.
pub(crate) trait Kind: PrometheusMetric + 'static {
    /// The type in the text format.
    const TYPE: MetricType;

    /// A metric with fixed labels.
    fn made(options: Opts) -> prometheus::Result<Self>;
}

impl Kind for prometheus::Counter {
    const TYPE: MetricType = MetricType::COUNTER;

    fn made(options: Opts) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

impl Kind for prometheus::Gauge {
    const TYPE: MetricType = MetricType::GAUGE;

    fn made(options: Opts) -> prometheus::Result<Self> {
        Self::with_opts(options)
    }
}

/// Metrics of one name. Clones are the same set.
#[derive(Clone)]
pub(crate) struct OpenSet<M>(Arc<Parts<M>>);

struct Parts<M> {
    options: Opts,
    labels: Vec<String>,
    desc: Desc,
    series: Mutex<BTreeMap<Vec<String>, M>>,
}

impl<M: Kind> OpenSet<M> {
    /// An empty set.
    ///
    /// # Errors
    /// If the name or a label breaks the rules of Prometheus.
    pub(crate) fn new(options: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
        let (name, help) = (options.name.clone(), options.help.clone());
        let desc = Desc::new(name, help, labels.clone(), Default::default())?;
        Ok(Self(Arc::new(Parts { options, labels, desc, series: Mutex::default() })))
    }

    /// The metric with these label values.
    ///
    /// # Panics
    /// If there are not as many values as labels.
    pub(crate) fn with(&self, values: &[&str]) -> M {
        let parts = &*self.0;
        assert_eq!(values.len(), parts.labels.len(), "one value for each label");
        let key: Vec<String> = values.iter().map(ToString::to_string).collect();
        let mut series = self.lock();
        if let Some(known) = series.get(&key) {
            return known.clone();
        }
        let labels = parts.labels.iter().zip(&key);
        let options = labels.fold(parts.options.clone(), |options, (label, value)| {
            options.const_label(label, value)
        });
        let made = M::made(options).expect("name and labels were checked when the set was made");
        series.insert(key, made.clone());
        made
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, M>> {
        self.0.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Kind> Collector for OpenSet<M> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics: Vec<_> = self.lock().values().map(PrometheusMetric::metric).collect();
        let mut family = MetricFamily::default();
        family.set_name(self.0.options.name.clone());
        family.set_help(self.0.options.help.clone());
        family.set_field_type(M::TYPE);
        family.set_metric(metrics);
        vec![family]
    }
}
