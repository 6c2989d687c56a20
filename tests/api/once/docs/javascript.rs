//! `clients/js` and `examples`: the package's own checks and tests, against this service, and its
//! samples on the pages.
//!
//! If Node or npm is missing, or the package's tools cannot be installed, the tests of the package
//! are skipped with a notice; if skipping is not allowed (`CI` is set) they fail.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::once::interop::{at_least, done};
use crate::support::binary::program;
use crate::support::docs;
use crate::support::program::left_out;

/// The oldest version that the package supports.
const NODE: u32 = 20;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn npm(arguments: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(repository("clients/js")).env("DOORWARD_BINARY", program());
    npm
}

/// Installs the tools of the package, if they are not those of its lock file.
fn install() -> Result<(), String> {
    at_least(Command::new("node").arg("--version"), "v", NODE)?;
    let marker = repository("clients/js/node_modules/installed");
    let wanted = text("clients/js/package-lock.json");
    if fs::read_to_string(&marker).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    done(&mut npm(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))?;
    fs::write(marker, wanted).map_err(|error| error.to_string())
}

#[test]
fn the_javascript_client_passes_its_checks_and_tests_with_this_service() {
    if let Err(reason) = install() {
        return left_out(&reason);
    }
    for script in ["check", "test"] {
        let output = npm(&["run", script]).output().unwrap();
        let [said, error] =
            [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
        assert!(output.status.success(), "npm run {script}: {said}{error}");
        // Skipped tests do not fail. The harness would hide their notices.
        for line in said.lines().chain(error.lines()).filter(|line| line.contains("SKIPPED")) {
            let _ = writeln!(io::stderr(), "npm run {script}: {line}");
        }
    }
}

#[test]
fn both_examples_have_the_same_forms_and_style() {
    let forms = |example: &str| {
        let page = text(&format!("examples/{example}/index.html"));
        let begin = page.find("<style>").expect("a style");
        let end = page.rfind("</form>").expect("a form");
        page[begin..end].to_owned()
    };
    assert_eq!(forms("bearer"), forms("cookie"));
}

#[test]
fn the_pages_show_the_scripts_of_the_examples() {
    let lines = |text: &str| text.lines().map(|it| it.trim().to_owned()).collect::<Vec<_>>();
    let example = lines(&text("examples/bearer/index.html"));
    let sample = lines(&docs::block("docs/web-apps.md", "import { createClient }"));
    assert!(example.windows(sample.len()).any(|window| window == sample), "{sample:?}");

    let example = lines(&text("examples/cookie/index.html"));
    let sample = lines(&docs::block("docs/web-apps.md", "const auth = createClient"));
    assert!(sample.iter().all(|line| example.contains(line)), "{sample:?}");

    let config = docs::block("docs/web-apps.md", "// vite.config.mjs");
    assert_eq!(config, text("examples/cookie/vite.config.mjs"));
}

#[test]
fn an_example_has_at_most_ten_lines_of_its_own() {
    for page in ["bearer", "cookie"] {
        let html = text(&format!("examples/{page}/index.html"));
        let (_, script) = html.rsplit_once("<script type=\"module\">").unwrap();
        let (script, _) = script.split_once("</script>").unwrap();
        let lines = script.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 10, "{page}: {lines} lines");
    }
}

/// The package's `test/samples.test.mjs` runs these.
#[test]
fn the_package_runs_the_other_samples() {
    let runner = text("clients/js/test/samples.test.mjs");
    for (page, sample) in [
        ("docs/web-apps.md", docs::block("docs/web-apps.md", "import { createServerClient }")),
        ("docs/web-apps.md", docs::block("docs/web-apps.md", "import { factors }")),
        ("docs/mobile-apps.md", docs::block("docs/mobile-apps.md", "import * as Keychain")),
        ("clients/js/README.md", docs::block("clients/js/README.md", "import { createClient }")),
        ("clients/js/README.md", docs::block("clients/js/README.md", "import { factors }")),
    ] {
        let start = sample.split(" from").next().unwrap();
        assert!(runner.contains(page) && runner.contains(start), "{page}: {start}");
    }
    let package = text("clients/js/package.json");
    let version = package.split("\"version\": \"").nth(1).unwrap().split('"').next().unwrap();
    for (page, install) in [
        ("clients/js/README.md", docs::block("clients/js/README.md", "npm install")),
        ("docs/web-apps.md", docs::block("docs/web-apps.md", "npm install")),
    ] {
        assert!(install.contains(&format!("doorward-client-{version}.tgz")), "{page}: {install}");
    }
    let server = docs::block("docs/client-contract.md", "node clients/contract/server.mjs");
    assert!(repository(server.split(' ').nth(1).unwrap()).is_file(), "{server}");
}
