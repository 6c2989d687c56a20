//! Former names of settings.

use super::ConfigFixture;

#[test]
fn a_renamed_setting_names_its_new_name_in_every_source() {
    let file = ConfigFixture::new().file("[sessions]\nsliding = '30d'\n");
    let path = file.directory.path().join("doorward.toml");
    assert_eq!(
        file.error(),
        format!(
            "sessions.sliding (file {}): this setting is called sessions.idle_timeout now; rename it",
            path.display()
        )
    );
    assert_eq!(
        ConfigFixture::new().variable("DOORWARD_LIMITS__MAX_KEYS", "1000").error(),
        "variable DOORWARD_LIMITS__MAX_KEYS: this setting is called \
         DOORWARD_LIMITS__MAX_TRACKED_CLIENTS now; rename the variable"
    );
    assert_eq!(
        ConfigFixture::new().variable("DOORWARD_SECRET_PREVIOUS_FILE", "/run/old").error(),
        "variable DOORWARD_SECRET_PREVIOUS_FILE: this setting is called \
         DOORWARD_PREVIOUS_SECRET_FILE now; rename the variable"
    );
    assert_eq!(
        ConfigFixture::new().set("revocations.follow=reload").error(),
        "revocations.follow (flag --set): this setting is called revocations.sync now; rename it, \
         and write `listen` for `notify` and `poll` for `reload`"
    );
}
