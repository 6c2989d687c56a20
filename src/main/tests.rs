use std::io::Write as _;

use super::log::OneLinePerEvent;
use super::*;

#[test]
fn no_input_starts_a_line_in_the_log() {
    let mut out = Vec::new();
    OneLinePerEvent(&mut out).write_all(b"agent=a\nINFO forged\x1b[2J \xc2\x85\n").unwrap();
    assert_eq!(out, b"agent=a\\u000aINFO forged\\u001b[2J \\u0085\n");
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_fits_one_screen() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.lines().count() <= 24, "{help}");
    assert!(help.lines().all(|line| line.len() < 80), "{help}");
    for flag in Cli::command().get_arguments().filter_map(clap::Arg::get_long) {
        assert!(help.contains(&format!("--{flag}")), "{flag}: {help}");
    }
}

#[test]
fn the_help_of_every_command_shows_an_example_of_it() {
    fn look(path: &str, command: &mut clap::Command) {
        for command in
            command.get_subcommands_mut().filter(|it| it.get_name() != "help" && !it.is_hide_set())
        {
            let path = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            let example = help.split_once("Example").map(|(_, example)| example);
            let is_group = command.has_subcommands();
            assert!(is_group || example.is_some_and(|it| it.contains(&path)), "{path}: {help}");
            look(&path, command);
        }
    }
    look("doorward", &mut Cli::command());
}
