//! The documented configuration of Traefik.

use crate::support::docs;

use super::IDENTITY;

/// Traefik itself is not run: no distribution packages it.
#[test]
fn the_lines_for_traefik_delete_every_form_of_every_identity_header() {
    let lines = docs::block("docs/forward-auth.md", "http:\n  middlewares:");
    let deleted: Vec<String> = lines
        .lines()
        .filter_map(|line| Some(line.trim().strip_suffix(": \"\"")?.to_ascii_lowercase()))
        .collect();
    let taken = lines.lines().find_map(|line| line.trim().strip_prefix("authResponseHeaders: ["));
    let taken = taken.unwrap().trim_end_matches(']').to_ascii_lowercase();
    // Traefik deletes these headers of a request before it copies them from the answer of /verify.
    assert_eq!(taken.split(", ").collect::<Vec<_>>(), IDENTITY);
    for name in IDENTITY {
        let [x, auth, what] = name.split('-').collect::<Vec<_>>()[..] else { panic!("{name}") };
        for (first, second) in [('_', '_'), ('-', '_'), ('_', '-')] {
            let spelling = format!("{x}{first}{auth}{second}{what}");
            assert!(deleted.contains(&spelling), "{spelling}");
        }
    }
    assert_eq!(deleted.len(), 3 * IDENTITY.len());
    assert!(lines.contains("middlewares: [underscores, doorward]"), "{lines}");
}
