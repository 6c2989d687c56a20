//! Numbers for whoever watches the service: counts and spreads that the parts keep, and the page on
//! which Prometheus reads them.
//!
//! A part owns its numbers, and counts at the place where the outcome is known. What goes on the
//! page, under which name, is for [`app`](crate::app) to say. Labels are fixed sets of words: an
//! [`LabelValue`], a route's pattern; never what a client has sent.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder, NoLabelSet,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram as PrometheusHistogram;
use prometheus_client::registry::{Registry, Unit};

/// What [`MetricsPage::render`] writes: Prometheus' text format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// In seconds: from an answer out of memory to the longest that a request may take.
const DURATIONS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Units in a commit: powers of two up to the most there may be.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What may become of something: the values of one label.
pub trait LabelValue: Copy + PartialEq + 'static {
    /// Every one.
    const ALL: &'static [Self];

    /// Its stable name.
    fn name(self) -> &'static str;
}

/// How often each of the outcomes has come. Clones share the counts.
pub struct CounterFamily<O> {
    counts: Arc<[AtomicU64]>,
    of: PhantomData<O>,
}

impl<O> Clone for CounterFamily<O> {
    fn clone(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), of: PhantomData }
    }
}

impl<O: LabelValue> fmt::Debug for CounterFamily<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}

impl<O: LabelValue> Default for CounterFamily<O> {
    fn default() -> Self {
        Self { counts: O::ALL.iter().map(|_| AtomicU64::new(0)).collect(), of: PhantomData }
    }
}

impl<O: LabelValue> CounterFamily<O> {
    /// Counts one more.
    pub fn count(&self, outcome: O) {
        let place = O::ALL.iter().position(|one| *one == outcome);
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The outcomes' names and how often each has come.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        O::ALL.iter().map(|outcome| outcome.name()).zip(counts)
    }
}

/// How something is spread: how long it took, or how large it was. Clones share it.
#[derive(Clone, Debug)]
pub struct Histogram(PrometheusHistogram);

impl Histogram {
    /// Of durations.
    #[must_use]
    pub fn of_durations() -> Self {
        Self(PrometheusHistogram::new(DURATIONS))
    }

    /// Of numbers of things, from one to 256.
    #[must_use]
    pub fn of_sizes() -> Self {
        Self(PrometheusHistogram::new(SIZES))
    }

    /// Adds a duration.
    pub fn observe_duration(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    /// Adds a number of things.
    pub fn observe_size(&self, things: usize) {
        self.0.observe(f64::from(u32::try_from(things).unwrap_or(u32::MAX)));
    }
}

/// The requests and how long they took. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Requests {
    answered: Family<RequestLabels, Counter>,
    took: Family<RouteLabel, PrometheusHistogram, fn() -> PrometheusHistogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

impl Default for Requests {
    fn default() -> Self {
        let took =
            Family::new_with_constructor((|| PrometheusHistogram::new(DURATIONS)) as fn() -> _);
        Self { answered: Family::default(), took }
    }
}

impl Requests {
    /// Counts an answer. The route is a pattern of the table of routes; requests for what is not
    /// there have none.
    pub fn record(&self, route: Option<&str>, method: &str, status: u16, took: Duration) {
        const METHODS: [&str; 5] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS"];
        const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let route = route.unwrap_or("other").to_owned();
        let method = METHODS.into_iter().find(|one| *one == method).unwrap_or("other");
        let class = usize::from(status / 100).checked_sub(1);
        let status = class.and_then(|class| STATUSES.get(class)).unwrap_or(&"other");
        let took_by = RouteLabel { route: route.clone() };
        self.answered.get_or_create(&RequestLabels { route, method, status }).inc();
        self.took.get_or_create(&took_by).observe(took.as_secs_f64());
    }
}

/// Writes the metrics of a page, one after the other.
pub struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
    failed: fmt::Result,
}

/// What a label is called, and its values with their numbers.
type Labelled<'a, N> = (&'a str, &'a mut dyn Iterator<Item = (&'static str, N)>);

impl Writer<'_> {
    /// A count since the start. `_total` is added to its name.
    pub fn count(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, help, None, MetricType::Counter, |mut metric| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        });
    }

    /// Counts since the start, by the values of a label.
    pub fn counts(&mut self, name: &str, help: &str, (label, counts): Labelled<'_, u64>) {
        self.metric(name, help, None, MetricType::Counter, |mut metric| {
            for (value, count) in counts {
                metric
                    .encode_family(&[(label, value)])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
            Ok(())
        });
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, help, None, MetricType::Gauge, |mut metric| metric.encode_gauge(&value));
    }

    /// Numbers that go up and down, by the values of a label.
    pub fn gauges(&mut self, name: &str, help: &str, (label, values): Labelled<'_, u64>) {
        self.metric(name, help, None, MetricType::Gauge, |mut metric| {
            for (value, number) in values {
                metric.encode_family(&[(label, value)])?.encode_gauge(&number)?;
            }
            Ok(())
        });
    }

    /// A number of seconds that goes up and down. `_seconds` is added to its name.
    pub fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let unit = Some(&Unit::Seconds);
        self.metric(name, help, unit, MetricType::Gauge, |mut metric| metric.encode_gauge(&value));
    }

    /// Numbers of seconds, by the values of a label.
    pub fn labelled_seconds(&mut self, name: &str, help: &str, (label, values): Labelled<'_, f64>) {
        let unit = Some(&Unit::Seconds);
        self.metric(name, help, unit, MetricType::Gauge, |mut metric| {
            for (value, number) in values {
                metric.encode_family(&[(label, value)])?.encode_gauge(&number)?;
            }
            Ok(())
        });
    }

    /// How durations are spread. `_seconds` is added to the name.
    pub fn durations(&mut self, name: &str, help: &str, spread: &Histogram) {
        let unit = Some(&Unit::Seconds);
        self.metric(name, help, unit, MetricType::Histogram, |metric| spread.0.encode(metric));
    }

    /// How sizes are spread.
    pub fn sizes(&mut self, name: &str, help: &str, spread: &Histogram) {
        self.metric(name, help, None, MetricType::Histogram, |metric| spread.0.encode(metric));
    }

    /// The requests, and how long they took.
    pub fn requests(&mut self, name: &str, requests: &Requests) {
        let help = "Requests by the pattern of their route, method and class of status";
        let answered = &requests.answered;
        let counts = format!("{name}_requests");
        self.metric(&counts, help, None, MetricType::Counter, |metric| answered.encode(metric));
        let help = "How long requests took, by the pattern of their route";
        let (unit, took) = (Some(&Unit::Seconds), &requests.took);
        let durations = format!("{name}_request_duration");
        self.metric(&durations, help, unit, MetricType::Histogram, |metric| took.encode(metric));
    }

    fn metric(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) {
        if self.failed.is_ok() {
            let metric = self.encoder.encode_descriptor(name, help, unit, kind);
            self.failed = metric.and_then(write);
        }
    }
}

/// Everything that is watched, as text.
pub struct MetricsPage(Registry);

impl MetricsPage {
    /// A page whose names begin with `prefix`; `fill` writes it, each time anew, from what is at
    /// hand: it must not take long.
    pub fn new(prefix: &str, fill: impl Fn(&mut Writer<'_>) + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        registry.register_collector(Box::new(Fill(fill)));
        Self(registry)
    }

    /// The text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.0);
        text
    }
}

struct Fill<F>(F);

impl<F> fmt::Debug for Fill<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fill")
    }
}

impl<F: Fn(&mut Writer<'_>) + Send + Sync + 'static> Collector for Fill<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder, failed: Ok(()) };
        (self.0)(&mut writer);
        writer.failed
    }
}
