//! Unknown names, and variables that are not settings.

use std::os::unix::ffi::OsStringExt as _;

use super::*;

#[test]
fn an_unknown_setting_names_the_nearest() {
    let fixture = ConfigFixture::new().file("[tokens]\nlifetme = '2m'\n");
    let file = fixture.directory.path().join("doorward.toml");
    assert_eq!(
        fixture.error(),
        format!(
            "tokens.lifetme (file {}): this setting does not exist; the nearest is \
             tokens.lifetime: rename it or remove it",
            file.display()
        )
    );
    for (text, nearest) in [
        ("lifetime = '2m'", "tokens.lifetime"),
        ("[token]\nlifetime = '2m'", "tokens.lifetime"),
        ("tokens = 1", ""),
        ("[toknes]", ""),
        ("[tokens.lifetime]\nx = 1", "tokens.lifetime"),
        ("secretfile = 'x'", "secret_file"),
        ("audience_file = 'x'", "audience"),
    ] {
        let error = ConfigFixture::new().file(text).error();
        assert!(error.contains("this setting does not exist; the nearest is "), "{text}: {error}");
        assert!(error.contains(nearest), "{text}: {error}");
    }
    assert!(
        ConfigFixture::new().set("log.levle=info").error().starts_with("log.levle (flag --set): ")
    );
    ConfigFixture::new().file("[tokens]\n[cors]\n").config();
}

#[test]
fn an_unknown_variable_names_the_nearest() {
    assert_eq!(
        ConfigFixture::new().variable("DOORWARD_TOKENS_LIFETIME", "2m").error(),
        "variable DOORWARD_TOKENS_LIFETIME: this setting does not exist; the nearest is \
         DOORWARD_TOKENS__LIFETIME: rename the variable or remove it"
    );
    for name in ["DOORWARD_", "DOORWARD_Listen", "DOORWARD_PORT", "DOORWARD_TOKENS.LIFETIME"] {
        let error = ConfigFixture::new().variable(name, "1").error();
        assert!(error.starts_with(&format!("variable {name}: this setting does not")), "{error}");
    }
}

#[test]
fn kubernetes_service_variables_are_ignored() {
    ConfigFixture::new()
        .variable("DOORWARD_PORT", "tcp://10.0.0.1:80")
        .variable("DOORWARD_SERVICE_HOST", "10.0.0.1")
        .variable("DOORWARD_SERVICE_PORT_HTTP", "80")
        .variable("DOORWARD_PORT_80_TCP_ADDR", "10.0.0.1")
        .variable("DOORWARD_POSTGRES_PORT_5432_TCP", "tcp://10.0.0.2:5432")
        .config();
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    let mut fixture = ConfigFixture::new();
    fixture.variables.push(("OTHER".into(), OsString::from_vec(vec![0xff])));
    fixture.config();
    fixture.variables.push(("DOORWARD_AUDIENCE".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(
        fixture.error(),
        "variable DOORWARD_AUDIENCE: its value is not UTF-8; set it to text or remove it"
    );
}
