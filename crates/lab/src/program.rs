//! What the programs on this library have in common: how they begin, how they end, and what an error looks like.

use crate::ranks::Agreed;
use crate::{host, interrupt, screen};
use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;
use std::panic;
use std::process::ExitCode;

/// Parses the command line and runs the command. An error is one line on standard error and the status 1, wrong usage
/// 2, an interruption 130.
pub fn main<C: Parser>(run: impl FnOnce(C) -> Result<()>) -> ExitCode {
    let command = match C::try_parse() {
        Ok(command) => command,
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => {
            screen::fail(one_line(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        end_without_output(&info.to_string());
        usual(info);
    }));
    host::revision(); // now, since files may change while a run goes on
    match run(command) {
        Ok(()) if interrupt::requested() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let print = if error.is::<Agreed>() { screen::say } else { screen::fail };
            print(told(&error));
            ExitCode::FAILURE
        }
    }
}

/// What an error looks like.
pub fn told(error: &anyhow::Error) -> String {
    format!("error: {}", one_line(&format!("{error:#}")))
}

/// Ends the program if what it panics for is an output that cannot be written, which is no fault of its own: without a
/// word if its reader has gone.
fn end_without_output(panic: &str) {
    let Some((_, why)) = panic.split_once("failed printing to stdout: ") else { return };
    if !why.contains("Broken pipe") {
        screen::fail(format!("error: cannot write to standard output: {}", why.trim()));
    }
    std::process::exit(1);
}

/// `--help`, `--version`, and the help that a command without its subcommand gets.
fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// An error on one line: what happened, then why, colons between; without the backtrace that candle appends if asked
/// to.
pub fn one_line(text: &str) -> String {
    let said =
        |line: &&str| !line.is_empty() && !line.starts_with("For more information") && !line.starts_with("Usage:");
    let lines = text.lines().map(str::trim).filter(said).take_while(|line| !line.starts_with("0: "));
    lines.map(|line| line.trim_end_matches(':')).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn an_error_is_one_line_without_usage_or_backtrace() {
        let clap = "error: these arguments were not provided:\n  <NAME>\n\nUsage: msharp data fetch <NAME>\n\nFor more \
                    information, try '--help'.\n";
        assert_eq!(one_line(clap), "error: these arguments were not provided: <NAME>");
        assert_eq!(one_line("no such file\n   0: candle_core::error\n   1: main"), "no such file");
    }
}
