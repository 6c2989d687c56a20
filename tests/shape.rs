//! The architecture rules, checked in the source: dependencies between modules, the home of each
//! library, the top level.
//!
//! The rules are the tables below; a change of the architecture changes them. Every violation is
//! reported with its file and line.

#[path = "shape/blocks.rs"]
mod blocks;
#[path = "shape/lengths.rs"]
mod lengths;
#[path = "shape/pages.rs"]
mod pages;
#[path = "shape/readme.rs"]
mod readme;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "shape/paths.rs"]
mod paths;
#[path = "shape/violations.rs"]
mod violations;
#[path = "shape/words.rs"]
mod words;

use paths::{Used, paths};

/// The allowed dependencies between modules. `module` allows all of a module, `module::Item` that
/// item only. Modules use themselves freely. `tokens` and `verifier` are the crates below `crates`;
/// the server has the first one's clock as its own.
const MAY_USE: &str = "
    main          -> cli app config secret::MasterSecret
    cli           -> app config http::server::tls http::request::client_ip
                     accounts sessions clients
                     passwords tokens keys revocations audit mail database clock loopback
    app           -> config http accounts sessions clients
                     passwords factors tokens refresh_token keys revocations audit mail database clock secret metrics locks
    http          -> accounts sessions clients factors keys revocations audit mail clock secret metrics
                     log_rate_limit swagger-ui
                     passwords::Overloaded refresh_token::Malformed tokens::TokenError tokens::TokenTooLong
                     tokens::revocation_id_to_claim tokens::Claims tokens::strict_json
                     database::StoreError database::Database database::Id database::ExpectedVersion
                     database::with_database_deadline locks loopback
    accounts      -> sessions clients
                     passwords factors refresh_token revocations audit mail database clock secret metrics named locks
                     tokens::TokenTooLong tokens::TokenSizeLimit tokens::strict_json
    sessions      -> clients tokens refresh_token keys revocations audit mail database clock secret metrics named
    clients       -> audit database clock secret tokens named
    keys          -> tokens audit database clock secret named locks
    revocations   -> database clock locks
    mail          -> audit database clock secret metrics named locks loopback
    audit         -> database clock secret named locks
    passwords     -> clock secret metrics named locks
    factors       -> clock secret named
    refresh_token -> secret
    tokens        ->
    database      -> clock secret metrics log_rate_limit locks
    log_rate_limit -> clock locks
    locks         ->
    loopback      ->
    metrics       ->
    named         ->
    secret        ->
    config        -> secret loopback clock tokens::Algorithm database::DatabaseUrl mail::transport::MailUrl
                     clients::check_origin clients::InvalidOrigin accounts::RoleSet
                     revocations::StalePolicy
    verifier      -> tokens
    swagger-ui    ->
";

/// The crates below `crates`, each with its module in these tables.
const CRATES: [(&str, &str); 3] = [
    ("doorward_swagger_ui", "swagger-ui"),
    ("doorward_tokens", "tokens"),
    ("doorward_verifier", "verifier"),
];

/// The modules where a crate, or a part of the standard library, may be named.
const ALLOWED_LIBRARIES: &str = "
    actix_web         -> http app verifier
    actix_http        -> http app
    actix_service     -> http app
    actix_cors        -> http
    actix_governor    -> http
    cookie            -> http app
    rustls            -> http cli
    tokio_rustls      -> http
    rustls_native_certs -> cli
    x509_parser       -> http
    prometheus_client -> metrics named app
    diesel            -> database revocations audit mail keys accounts sessions clients tokens::clock
    lettre            -> mail config app
    idna              -> accounts mail
    minijinja         -> mail
    diesel_migrations -> database
    r2d2              -> database
    jsonwebtoken      -> tokens
    argon2            -> passwords
    hugealloc         -> passwords
    allocator_api2    -> passwords
    zxcvbn            -> passwords
    totp_rs           -> factors
    qrcode            -> factors
    reqwest           -> verifier
    quick_cache       -> tokens::cache
    listenfd          -> config
    socket2           -> http app
    tower_layer       -> verifier
    tower_service     -> verifier
    rpassword         -> cli
    tracing_appender  -> main
    indicatif         -> cli
    nix               -> cli
    clap_complete     -> main
    mimalloc          -> main
    std::env          -> config
    rustix            -> passwords config cli app
";

/// The allowed names at the top level, in addition to the ignored ones of `.gitignore`.
const TOP: &str = "
    Cargo.toml Cargo.lock src crates migrations diesel.toml openapi.yaml tests README.md CHANGELOG.md CONTRIBUTING.md benches
    book.toml clients docs examples LICENSE-APACHE LICENSE-MIT clippy.toml deny.toml rustfmt.toml .cargo .ci .git .gitignore
";

#[test]
fn modules_use_only_lower_modules() {
    let violations: Vec<String> =
        sources().iter().flat_map(|(path, text)| disallowed_uses(path, text)).collect();
    assert_none(&violations);
}

#[test]
fn every_library_is_used_only_in_its_modules() {
    let violations: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| libraries_outside_their_modules(path, text))
        .collect();
    assert_none(&violations);
}

#[test]
fn lib_rs_declares_and_explains_every_module() {
    let map = read(&root().join("src/lib.rs"));
    assert_none(&undocumented_modules(&map, &top_level_modules()));
}

#[test]
fn the_root_folder_contains_only_listed_files() {
    let ignored = read(&root().join(".gitignore"));
    let ignored = ignored.lines().filter_map(|line| line.strip_prefix('/'));
    let allowed: BTreeSet<&str> = TOP.split_whitespace().chain(ignored).collect();
    let stray: Vec<String> = names(&root())
        .into_iter()
        .filter(|name| !allowed.contains(name.as_str()))
        .map(|name| format!("{name}:1: does not belong at the top"))
        .collect();
    assert_none(&stray);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let of = |database: &str| -> BTreeSet<String> {
        let folder = root().join("migrations").join(database);
        let files = |name: String| {
            let inside = names(&folder.join(&name));
            inside.into_iter().map(move |file| format!("{name}/{file}"))
        };
        names(&folder).into_iter().flat_map(files).collect()
    };
    let (sqlite, postgres) = (of("sqlite"), of("postgres"));
    assert_eq!(sqlite, postgres);
    assert!(!sqlite.is_empty());
    for migration in sqlite.iter().filter_map(|file| file.strip_suffix("/up.sql")) {
        assert!(sqlite.contains(&format!("{migration}/down.sql")), "{migration} has no down.sql");
    }
    assert!(
        sqlite.iter().all(|file| file.ends_with("/up.sql") || file.ends_with("/down.sql")),
        "{sqlite:?}"
    );
}

/// A table's rows: the words before an arrow, and those after it.
fn rows(table: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut words = table.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if words.next_if_eq(&"->").is_some() {
            rows.push((word, Vec::new()));
        } else if let Some((_, right)) = rows.last_mut() {
            right.push(word);
        }
    }
    rows
}

/// The uses of other modules that the table does not allow.
fn disallowed_uses(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    let Some(from) = module.first() else {
        return Vec::new();
    };
    let Some((_, allowed)) = rows(MAY_USE).into_iter().find(|(name, _)| name == from) else {
        return vec![format!(
            "{path}:1: the module {from} is not in the table MAY_USE of tests/shape.rs"
        )];
    };
    let is_allowed = |target: &[String]| {
        target.first() == Some(from) || allowed.iter().any(|allowed| begins_with(target, allowed))
    };
    paths(text)
        .into_iter()
        .filter_map(|used| Some((used.line, within_crate(&module, &used)?)))
        .filter(|(_, target)| !is_allowed(target))
        .map(|(line, target)| format!("{path}:{line}: {from} may not use {}", target.join("::")))
        .collect()
}

/// The uses of libraries outside their homes.
fn libraries_outside_their_modules(path: &str, text: &str) -> Vec<String> {
    let mut module = module_of(path);
    if module.is_empty() {
        module.push("lib".to_owned());
    }
    let rules = rows(ALLOWED_LIBRARIES);
    paths(text)
        .into_iter()
        .filter_map(|used| {
            let (library, homes) =
                rules.iter().find(|(library, _)| begins_with(&used.names, library))?;
            let is_home = homes.iter().any(|home| begins_with(&module, home));
            let homes = (!is_home).then(|| homes.join(", "))?;
            Some(format!("{path}:{}: {library} lives in {homes}", used.line))
        })
        .collect()
}

/// The modules that `lib.rs` does not declare or does not document.
fn undocumented_modules(map: &str, modules: &[String]) -> Vec<String> {
    let docs: String = map.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let missing = |module: &String| {
        let is_declared = map.lines().any(|line| {
            let line = line.trim().trim_start_matches("pub ");
            line.strip_prefix("mod ")
                .is_some_and(|rest| rest.trim_end_matches([';', ' ']) == module)
        });
        let is_explained =
            docs.contains(&format!("`{module}`")) || docs.contains(&format!("`mod@{module}`"));
        let what =
            if is_declared { "is not described in the documentation" } else { "is not declared" };
        (!is_declared || !is_explained).then(|| format!("src/lib.rs:1: the module {module} {what}"))
    };
    modules.iter().filter_map(missing).collect()
}

/// Whether a path is the one that a rule names, or below it.
fn begins_with(path: &[String], rule: &str) -> bool {
    let mut names = path.iter();
    rule.split("::").all(|part| names.next().is_some_and(|name| name == part))
}

/// `src/http/middleware.rs` is `http::middleware`; `src/lib.rs` is the root. The crate
/// `crates/doorward-tokens` is the module `tokens`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("crates/doorward-").replacen("/src/", "/", 1);
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').filter(|name| *name != "lib").map(Into::into).collect()
}

/// The target of a path, from the crate's root, if it begins with `crate`, `super` or `self`.
fn within_crate(module: &[String], used: &Used) -> Option<Vec<String>> {
    let here = || module.iter().chain(&used.inline).cloned().collect::<Vec<_>>();
    let (first, rest) = used.names.split_first()?;
    let (mut target, mut rest) = match first.as_str() {
        "crate" => (crate_of(module), rest),
        "doorward" => (Vec::new(), rest),
        "self" => (here(), rest),
        "super" => (here(), used.names.as_slice()),
        name => {
            let (_, library) = CRATES.iter().find(|(library, _)| *library == name)?;
            (vec![(*library).to_owned()], rest)
        }
    };
    while let Some((first, further)) = rest.split_first()
        && first == "super"
    {
        target.pop();
        rest = further;
    }
    target.extend_from_slice(rest);
    Some(target)
}

/// The path that `crate` refers to: empty in the server, the crate's module below `crates`.
fn crate_of(module: &[String]) -> Vec<String> {
    let is_library = |name: &&String| CRATES.iter().any(|(_, library)| library == name);
    module.first().filter(is_library).cloned().into_iter().collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `src` and `crates/*/src`, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), "src", &mut found);
    for name in names(&root().join("crates")) {
        collect(&root(), &format!("crates/{name}/src"), &mut found);
    }
    for folder in ["src/", "crates/doorward-tokens/src/", "crates/doorward-verifier/src/"] {
        assert!(found.iter().any(|(path, _)| path.starts_with(folder)), "{folder} was not read");
    }
    found
}

fn collect(root: &Path, path: &str, found: &mut Vec<(String, String)>) {
    collect_files(root, path, &["rs"], found);
}

/// The scripts of the packages for other languages, but none that is installed or built.
fn scripts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect_files(&root(), "clients", &["ts", "mjs", "js"], &mut found);
    found
}

fn collect_files(root: &Path, path: &str, kinds: &[&str], found: &mut Vec<(String, String)>) {
    for name in names(&root.join(path)) {
        let is_kind = |kind: &&str| Path::new(&name).extension().is_some_and(|it| it == *kind);
        let path = format!("{path}/{name}");
        if root.join(&path).is_dir() {
            if name != "node_modules" && name != "dist" {
                collect_files(root, &path, kinds, found);
            }
        } else if kinds.iter().any(is_kind) {
            let text = read(&root.join(&path));
            found.push((path, text));
        }
    }
}

fn top_level_modules() -> Vec<String> {
    let modules = names(&root().join("src")).into_iter();
    modules
        .filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "lib" && name != "main")
        .collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn assert_none(violations: &[String]) {
    let mut list = String::new();
    for violation in violations {
        let _ = write!(list, "\n  {violation}");
    }
    assert!(violations.is_empty(), "{} violations:{list}", violations.len());
}
