//! The dependencies of a service that embeds the verifier.

use std::process::Command;

/// The names of the packages that the verifier depends on with these features.
fn tree(features: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-p", "doorward-verifier", "--features", features])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn has(tree: &[String], name: &str) -> bool {
    tree.iter().any(|package| package == name)
}

#[test]
fn the_verifier_depends_on_nothing_of_the_server() {
    for features in ["", "tower"] {
        let tree = tree(features);
        assert!(has(&tree, "jsonwebtoken") && has(&tree, "reqwest"), "{tree:?}");
        for part in ["actix", "diesel", "argon2", "governor", "sqlite", "pq-sys", "openssl"] {
            let found: Vec<_> = tree.iter().filter(|package| package.contains(part)).collect();
            // It only searches for certificates, in OpenSSL's places.
            assert!(found.iter().all(|name| *name == "openssl-probe"), "{features}: {found:?}");
        }
    }
}

#[test]
fn each_adapter_depends_only_on_its_own_framework() {
    let tree = tree("actix");
    assert!(has(&tree, "actix-web"), "{tree:?}");
    for name in ["diesel", "argon2", "actix-governor", "actix-cors"] {
        assert!(!has(&tree, name), "{name}");
    }
}

#[test]
fn a_whole_service_has_under_sixty_lines() {
    let example = include_str!("../../examples/resource_server.rs");
    assert!(example.lines().count() < 60);
}
