//! The output of `doorward config`.

use super::*;

#[test]
fn secrets_are_hidden_in_every_output() {
    let (current, previous) = (secret(), secret());
    let url = "postgres://door:hunter2@db.example/door";
    let fixture = ConfigFixture::new()
        .variable("DOORWARD_SECRET", &current)
        .variable("DOORWARD_PREVIOUS_SECRET", &previous)
        .variable("DOORWARD_DATABASE_URL", url);
    let loaded = fixture.load().unwrap();
    let printed = loaded.to_toml().unwrap();
    assert!(printed.contains("\n#secret = \"[secret]\" # variable DOORWARD_SECRET\n"), "{printed}");
    for shown in [printed, format!("{loaded:?}"), format!("{:?}", loaded.config.master_secret())] {
        for hidden in [current.as_str(), previous.as_str(), "hunter2"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
    for text in [
        "secret = 1234567",
        "secret = ['1234567']",
        "secret = '1234567'",
        "database_url = '1234567'",
    ] {
        let error = ConfigFixture::new().file(text).error();
        assert!(!error.contains("1234567"), "{error}");
    }
    assert!(!ConfigFixture::new().set("secret:1234567").error().contains("1234567"));
    let sqlite = ConfigFixture::new().set("database_url=sqlite:///srv/d.db").load().unwrap();
    assert!(sqlite.to_toml().unwrap().contains("\"sqlite:///srv/d.db\" # flag --set\n"));
}

#[test]
fn printed_config_round_trips() {
    let fixture = ConfigFixture::new()
        .set("tokens.lifetime=7m")
        .set("trusted_proxies=10.0.0.0/8")
        .set("data_dir=a\n\"b\"")
        .set("cors.origins=https://a.example,https://b.example");
    let printed = fixture.load().unwrap().to_toml().unwrap();
    let again = ConfigFixture::new().file(&printed).load().unwrap();
    let values = |loaded: &Loaded| layers::flat(&loaded.config).unwrap();
    assert_eq!(values(&again), values(&fixture.load().unwrap()));
}

#[test]
fn a_printed_file_loads_when_the_hidden_secrets_are_provided_again() {
    let (current, previous) = (secret(), secret());
    let url = "postgres://door:hunter2@db.example/door";
    let secrets = [("secret", &*current), ("previous_secret", &*previous), ("database_url", url)];
    let values = |loaded: &Loaded| format!("{:?}", layers::flat(&loaded.config).unwrap());
    for way in ["file", "variable", "flag", "file of file", "file of variable", "file of flag"] {
        let mut fixture = ConfigFixture::new();
        let mut text = String::from("audience = 'a'\n");
        let is_in_file = way.starts_with("file of");
        for (name, value) in secrets {
            let path = fixture.directory.path().join(name);
            fs::write(&path, value).unwrap();
            let path = path.to_str().unwrap().to_owned();
            let (key, value) = if is_in_file {
                (format!("{name}_file"), path)
            } else {
                (name.to_owned(), value.to_owned())
            };
            match way.rsplit(' ').next().unwrap() {
                "file" => text.extend([&key, " = '", &value, "'\n"]),
                "variable" => {
                    let variable = format!("DOORWARD_{}", key.to_ascii_uppercase());
                    fixture = fixture.variable(&variable, &value);
                }
                _ => fixture = fixture.set(&format!("{key}={value}")),
            }
        }
        let fixture = fixture.file(&text);
        let before = fixture.load().unwrap();
        let printed = before.to_toml().unwrap();
        assert!(!printed.contains("hunter2") && !printed.contains(&current), "{way}: {printed}");
        let mut again = ConfigFixture::new().file(&printed);
        if !is_in_file {
            again.load().unwrap();
            for (name, value) in secrets {
                let variable = format!("DOORWARD_{}", name.to_ascii_uppercase());
                again = again.variable(&variable, value);
            }
        }
        let again = again.load().unwrap();
        assert_eq!(values(&again), values(&before), "{way}");
        let exposed = |it: &Option<Secret<String>>| it.as_ref().map(|it| it.expose().clone());
        let config = again.config;
        assert_eq!(exposed(&config.secret).unwrap(), current, "{way}");
        assert_eq!(exposed(&config.previous_secret).unwrap(), previous, "{way}");
        assert_eq!(exposed(&config.database_url).unwrap(), url, "{way}");
    }
}

#[test]
fn every_setting_is_printed_with_its_documentation() {
    let printed = ConfigFixture::new().load().unwrap().to_toml().unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    let settings: Vec<usize> = (0..lines.len())
        .filter(|&at| lines[at].contains(" = ") && !lines[at].starts_with("# "))
        .collect();
    assert_eq!(settings.len(), layers::flat(&Config::default()).unwrap().len());
    for at in settings {
        assert!(lines[at - 1].starts_with("# "), "{}", lines[at]);
        // Nothing is set, so every line is a comment; without the # each is a setting.
        let set = lines[at].strip_prefix('#').unwrap();
        ConfigFixture::new().file(set).config();
    }
    assert!(lines.iter().all(|line| line.is_empty() || line.starts_with('#')), "{printed}");
    assert!(lines.iter().all(|line| line.len() <= 100));
}
