//! An account as JSON.

use serde_json::{Value, json};

use crate::accounts::AccountDetails;

impl AccountDetails {
    /// The members that the admin API and the commands with `--json` have in common. All of them
    /// change only together with the version; the last login, for example, does not.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let claims = self.claims.as_deref().and_then(|text| serde_json::from_str(text).ok());
        json!({
            "id": self.id,
            "email": self.email,
            "email_verified": self.email_verified,
            "invited_until": self.invited_until,
            "roles": self.roles,
            "claims": claims.unwrap_or_else(|| json!({})),
            "created_at": self.created_at,
            "password_changed_at": self.password_changed_at,
            "factors": self.factors,
        })
    }
}
