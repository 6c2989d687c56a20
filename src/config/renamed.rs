//! Former names of settings.

/// The old and the new names.
const RENAMED: [(&str, &str); 12] = [
    ("audit.keep", "audit.retention"),
    ("limits.body_bytes", "limits.max_body_bytes"),
    ("limits.known_address_for", "limits.known_address_lifetime"),
    ("limits.max_keys", "limits.max_tracked_clients"),
    ("passwords.queue", "passwords.queue_capacity"),
    ("revocations.follow", "revocations.sync"),
    ("secret_previous", "previous_secret"),
    ("secret_previous_file", "previous_secret_file"),
    ("sessions.absolute", "sessions.absolute_timeout"),
    ("sessions.keep_ended", "sessions.ended_retention"),
    ("sessions.sliding", "sessions.idle_timeout"),
    ("tls.redirect_from", "tls.http_redirect_listen"),
];

/// The new name of the setting with this old name.
pub(super) fn new_name(old: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(name, _)| *name == old).map(|(_, new)| *new)
}

/// The rest of the remedy, for a setting whose values were renamed, too.
pub(super) fn new_values(old: &str) -> &'static str {
    if old == "revocations.follow" {
        ", and write `listen` for `notify` and `poll` for `reload`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::layers::flat;

    #[test]
    fn every_new_name_is_a_setting_and_no_old_one_is() {
        let settings = flat(&Config::default()).unwrap();
        let is_setting = |name: &str| settings.contains_key(name.trim_end_matches("_file"));
        for (old, new) in RENAMED {
            assert!(is_setting(new) && !is_setting(old), "{old} {new}");
        }
    }
}
