//! The section `[docs]`.

use serde::{Deserialize, Serialize};

/// The page about the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DocsConfig {
    /// Whether `/docs` shows the API in Swagger UI, with forms to try it. It needs no
    /// authentication, and reveals nothing that `/openapi.yaml` does not.
    pub enabled: bool,
}

impl Default for DocsConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}
