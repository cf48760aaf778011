//! The command line: clap parses the arguments, each verb's module resolves them and calls the
//! library. Results go to standard output (with `--json` as one JSON object), progress and messages
//! to standard error.
//!
//! Exit codes: 0 done, 1 nothing found, 2 error.

mod advise;
mod cell_processes;
mod convert;
mod data;
mod demo;
mod engine;
mod evaluate;
mod export;
mod export_packages;
mod info;
mod labels;
mod output;
mod output_files;
mod page;
mod prune;
mod segment;
#[cfg(feature = "net")]
mod serve;
mod slide;
mod slide_inputs;
mod slide_plan;
mod slide_run;
mod slide_segment;
mod slide_table;
mod study;
mod tiles;
mod train;
mod tune;
#[cfg(feature = "desktop")]
mod view;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::error::Result;
use output::Output;

/// How a command ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    Done,
    /// There was nothing to work on, or nothing was found.
    Nothing,
}

/// Train, structurally prune and fine-tune small networks that segment nuclei in H&E tissue.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, arg_required_else_help = true)]
struct Arguments {
    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::DemoArguments),
    Train(train::TrainArguments),
    Finetune(train::FinetuneArguments),
    Prune(prune::PruneArguments),
    Segment(segment::SegmentArguments),
    Evaluate(evaluate::EvaluateArguments),
    Tune(tune::TuneArguments),
    Export(export::ExportArguments),
    Import(export::ImportArguments),
    #[cfg(feature = "net")]
    Serve(serve::ServeArguments),
    #[cfg(not(feature = "net"))]
    #[command(hide = true, disable_help_flag = true)]
    Serve(IgnoredArguments),
    Slide(slide::SlideArguments),
    #[cfg(feature = "desktop")]
    View(view::WindowArguments),
    #[cfg(not(feature = "desktop"))]
    #[command(hide = true, disable_help_flag = true)]
    View(IgnoredArguments),
    Convert(convert::ConvertArguments),
    Study(study::StudyArguments),
    Advise(advise::AdviseArguments),
    Info(info::InfoArguments),
    Data(data::DataArguments),
    /// List the devices that can compute.
    ///
    /// Software adapters compute on the CPU; they are used only when they are asked for.
    #[command(after_help = "Examples:
  prunella devices
  prunella devices --json")]
    Devices,
}

/// Arguments of a verb that this build does not have; it only explains why.
#[cfg(not(all(feature = "net", feature = "desktop")))]
#[derive(Debug, clap::Args)]
struct IgnoredArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _all: Vec<std::ffi::OsString>,
}

#[cfg(not(all(feature = "net", feature = "desktop")))]
fn missing_feature(feature: &str) -> crate::error::Error {
    crate::error::Error::unsupported(format!(
        "This program was built without the feature '{feature}', which the command needs"
    ))
}

/// A heading of `prunella --help` and the verbs below it.
struct VerbGroup {
    heading: &'static str,
    verbs: &'static [&'static str],
}

const VERB_GROUPS: [VerbGroup; 6] = [
    VerbGroup { heading: "Try everything", verbs: &["demo"] },
    VerbGroup { heading: "Segment", verbs: &["segment", "slide", "view", "serve"] },
    VerbGroup {
        heading: "Train and prune",
        verbs: &["train", "prune", "finetune", "tune", "evaluate"],
    },
    VerbGroup { heading: "Compare pruning ratios and sample sizes", verbs: &["study", "advise"] },
    VerbGroup {
        heading: "Models and labelled data",
        verbs: &["info", "export", "import", "data", "convert"],
    },
    VerbGroup { heading: "This program", verbs: &["devices", "help"] },
];

/// The parser, with a help text that lists verbs in groups.
fn parser() -> clap::Command {
    let mut parser = Arguments::command();
    parser.build();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}\n\n\
         'prunella COMMAND --help' has the options of a command, with examples.",
        grouped_verbs(&parser)
    );
    parser.help_template(template)
}

/// The verbs of this build with their descriptions, one on a line. Features decide which there are.
fn grouped_verbs(parser: &clap::Command) -> String {
    let mut text = String::new();
    for group in VERB_GROUPS {
        text += &format!("\n{}:\n", group.heading);
        for verb in group.verbs {
            match parser.find_subcommand(verb) {
                Some(command) if !command.is_hide_set() => {
                    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                    text += &format!("  {verb:<10}{about}\n");
                }
                _ => {}
            }
        }
    }
    text
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments =
        Arguments::from_arg_matches(&parser().get_matches()).unwrap_or_else(|error| error.exit());
    let output = Output::new(arguments.json);
    // PRUNELLA_LOG=debug shows the library's log; without it nothing is logged.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("PRUNELLA_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match run(arguments.verb, output) {
        Ok(CommandOutcome::Done) => ExitCode::SUCCESS,
        Ok(CommandOutcome::Nothing) => ExitCode::from(1),
        Err(error) => {
            output.remark(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb, output: Output) -> Result<CommandOutcome> {
    match verb {
        Verb::Demo(a) => demo::demo(&a, output),
        Verb::Train(a) => train::train(&a, output),
        Verb::Finetune(a) => train::finetune(&a, output),
        Verb::Prune(a) => prune::prune(&a, output),
        Verb::Segment(a) => segment::segment_images(&a, output),
        Verb::Evaluate(a) => evaluate::evaluate(&a, output),
        Verb::Tune(a) => tune::tune(&a, output),
        Verb::Export(a) => export::export(&a, output),
        Verb::Import(a) => export::import(&a, output),
        #[cfg(feature = "net")]
        Verb::Serve(a) => serve::serve(&a, output),
        #[cfg(not(feature = "net"))]
        Verb::Serve(_) => Err(missing_feature("net")),
        Verb::Convert(a) => convert::convert(&a, output),
        Verb::Slide(a) => slide::slide(&a, output),
        #[cfg(feature = "desktop")]
        Verb::View(a) => view::view(&a, output),
        #[cfg(not(feature = "desktop"))]
        Verb::View(_) => Err(missing_feature("desktop")),
        Verb::Study(a) => study::study(&a, output),
        Verb::Advise(a) => advise::advice(&a, output),
        Verb::Info(a) => info::info(&a, output),
        Verb::Data(a) => data::data(&a, output),
        Verb::Devices => info::devices(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_verb_once_on_a_line_of_90_columns() {
        let mut parser = parser();
        let text = grouped_verbs(&parser);
        for line in text.lines() {
            assert!(line.chars().count() <= 90, "{line}");
        }
        let mut verbs: Vec<String> = Vec::new();
        for command in parser.get_subcommands() {
            if !command.is_hide_set() {
                verbs.push(command.get_name().to_owned());
            }
        }
        for verb in &verbs {
            assert_eq!(text.matches(&format!("\n  {verb:<10}")).count(), 1, "{verb}");
        }
        let verb_lines = text.lines().filter(|line| line.starts_with("  ")).count();
        assert_eq!(verb_lines, verbs.len());
        assert!(parser.render_help().to_string().contains(&text));
    }
}
