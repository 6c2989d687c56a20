//! Settings, flags and build commands.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::support::docs;
use crate::support::shell::Shell;

#[test]
fn every_sample_of_settings_is_a_valid_file() {
    for (sample, expected) in [
        (docs::block("docs/web-apps.md", "# doorward.toml"), "\"http://localhost:5173\""),
        (docs::block("docs/web-apps.md", "public_url = "), "same_site = \"none\""),
        (docs::block("docs/forward-auth.md", "public_url = "), "\"10.0.0.1/32\""),
    ] {
        let shell = Shell::new();
        let file = shell.home.path().join("doorward.toml");
        fs::write(&file, &sample).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let printed = shell.run("doorward config");
        assert!(printed.contains(expected), "{sample}{printed}");
    }
}

#[tokio::test]
async fn every_start_with_flags_serves() {
    for lines in [
        docs::block("docs/web-apps.md", "doorward --public-url"),
        docs::block("docs/client-contract.md", "doorward --set"),
    ] {
        let mut shell = Shell::new();
        let service = shell.start(&lines);
        service.get("/readyz").send().await.assert_status(200);
        assert!(service.stop().0.success());
    }
}

#[test]
fn tls_flags_are_valid() {
    let lines = docs::block("docs/deployment.md", "doorward --listen 0.0.0.0:443");
    let shell = Shell::new();
    let printed = shell.run(&format!("{} config", lines.trim_end()));
    for expected in
        ["listen = \"0.0.0.0:443\"", "cert = \"/etc/ssl/", "http_redirect_listen = \"0.0.0.0:80\""]
    {
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn cargo_commands_name_programs_and_options_that_exist() {
    let manifest = docs::text("Cargo.toml");
    assert_eq!(docs::block("README.md", "cargo run"), "cargo run --release\n");
    assert!(manifest.contains("default-run = \"doorward\""));
    assert_eq!(docs::block("README.md", "cargo test"), "cargo test\n");
    let bench = docs::text("benches/load/main.rs");
    let line = docs::block("docs/performance.md", "cargo bench --bench load");
    for option in line.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
        let is_known = matches!(option, "" | "bench") || bench.contains(&format!("    {option}: "));
        assert!(is_known, "{option}");
    }
    assert!(manifest.contains("[[bench]]\nname = \"load\""));
}

#[test]
fn the_library_for_slow_disks_delays_each_fsync() {
    let lines = docs::block("docs/performance.md", "printf");
    let (build, bench) = lines.trim_end().rsplit_once('\n').unwrap();
    let bench = bench.strip_suffix("cargo bench --bench load -- writes").expect(bench);
    let written = "for n in $(seq 10); do dd if=/dev/zero of=file bs=1 count=1 conv=fsync; done";
    let shell = Shell::new();
    let lines = format!(
        "mkdir target\n{build}\nexport {bench}\nbefore=$(date +%s%N)\n\
         ({written}) 2>/dev/null\nafter=$(date +%s%N)\necho $(((after - before) / 1000000))"
    );
    let milliseconds: u32 = shell.run(&lines).trim().parse().unwrap();
    assert!(milliseconds >= 30, "{milliseconds} ms for 10 fsyncs");
}
