//! Metrics that several modules count.
//!
//! A module owns its metrics, and counts where the outcome is known. The names on the page are
//! defined in [`app`](crate::app). Label values are fixed: a `named` enum or a
//! route's pattern; never text that a client has sent.

use std::hash::Hash;
use std::time::Duration;

pub use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::histogram::Histogram;

/// The bounds of the buckets in seconds, from a response without I/O to one that waits for a
/// saturated service. Slower ones are counted in the bucket `+Inf`.
const DURATIONS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A histogram of durations in seconds.
#[must_use]
pub fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

/// Counters that the page shows from the start, as zero.
pub fn counters<L>(labels: impl IntoIterator<Item = L>) -> Family<L, Counter>
where
    L: Clone + Hash + Eq,
{
    let family = Family::default();
    for label in labels {
        drop(family.get_or_create(&label));
    }
    family
}

/// Counts and durations of requests. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The number of responses, by route, method and class of status.
    pub answered: Family<RequestLabels, Counter>,
    /// Their durations in seconds, by route.
    pub took: Family<RouteLabel, Histogram, fn() -> Histogram>,
}

/// The labels of [`Requests::answered`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    route: String,
    method: &'static str,
    status: &'static str,
}

/// The label of [`Requests::took`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    route: String,
}

impl Default for Requests {
    fn default() -> Self {
        Self { answered: Family::default(), took: Family::new_with_constructor(durations) }
    }
}

impl Requests {
    /// Counts a response. The route is a pattern of the route table; requests for unknown resources
    /// have none.
    pub fn record(&self, route: Option<&str>, method: &str, status: u16, took: Duration) {
        const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
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
