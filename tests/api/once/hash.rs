//! `doorward hash calibrate` and `doorward completions`, through the real binary.

use std::fs;

use serde_json::Value;

use crate::support::binary::{doorward, printed, run};

#[test]
fn calibration_prints_valid_settings_never_below_owasps_minimum() {
    let home = tempfile::tempdir().unwrap();
    let calibrate = |arguments: &[&str]| {
        printed(doorward(home.path()).args(["hash", "calibrate"]).args(arguments))
    };
    let lines = calibrate(&["--seconds", "0.001", "--memory-kib", "7168"]);
    assert!(lines.contains("[passwords]\nmemory_kib = 7168\niterations = 5\n"), "{lines}");
    assert!(lines.contains("longer than requested"), "{lines}");
    let file = home.path().join("settings.toml");
    fs::write(&file, &lines).unwrap();
    let config = printed(doorward(home.path()).arg("config").arg("--config").arg(&file));
    assert!(config.contains("iterations = 5"), "{config}");

    let found: Value = serde_json::from_str(&calibrate(&["--seconds", "2", "--json"])).unwrap();
    assert_eq!(found["memory_kib"], 19456, "the setting: {found}");
    assert!(found["iterations"].as_u64().unwrap() >= 2, "{found}");
    assert!(found["seconds"].as_f64().unwrap() > 0.0, "{found}");

    for wrong in [["--memory-kib", "7167"], ["--seconds", "0"], ["--seconds", "soon"]] {
        let refusal = run(doorward(home.path()).args(["hash", "calibrate"]).args(wrong));
        assert_eq!(refusal.status.code(), Some(2), "{refusal:?}");
        assert!(refusal.stderr.contains(wrong[0]), "{refusal:?}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "it writes nothing");
}

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(doorward(home.path()).args(["completions", shell]));
        for word in ["doorward", "calibrate", "end-sessions", "--json"] {
            // Fish names a flag without its dashes.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
}
