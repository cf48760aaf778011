//! The command line: arguments typed by clap, resolved, and handed to the library. Results go to
//! standard output (`--json` makes them one JSON object), progress and remarks to standard error.
//!
//! Exit codes: 0 done, 1 nothing found, 2 error.

mod advise;
mod convert;
mod data;
mod demo;
mod engine;
mod evaluate;
mod export;
mod info;
mod output;
mod page;
mod prune;
mod segment;
mod serve;
mod slide;
mod study;
mod tiles;
mod train;
mod tune;
#[cfg(feature = "desktop")]
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;
use output::Output;

/// How a command ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    Done,
    /// Nothing to work on was found.
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
    Serve(serve::ServeArguments),
    Slide(slide::SlideArguments),
    #[cfg(feature = "desktop")]
    View(view::WindowArguments),
    /// Needs the feature 'desktop', which this program was built without.
    #[cfg(not(feature = "desktop"))]
    #[command(hide = true, disable_help_flag = true)]
    View {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    Convert(convert::ConvertArguments),
    Study(study::StudyArguments),
    Advise(advise::AdviseArguments),
    Info(info::InfoArguments),
    Data(data::DataArguments),
    /// List what can compute here, and which adapters are software.
    Devices,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    // PRUNELLA_LOG=debug shows what the library does; silent otherwise.
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
        Verb::Serve(a) => serve::serve(&a, output),
        Verb::Convert(a) => convert::convert(&a, output),
        Verb::Slide(a) => slide::slide(&a, output),
        #[cfg(feature = "desktop")]
        Verb::View(a) => view::view(&a, output),
        #[cfg(not(feature = "desktop"))]
        Verb::View { .. } => Err(crate::error::Error::unsupported(
            "This program was built without a window; build it with the feature 'desktop'",
        )),
        Verb::Study(a) => study::study(&a, output),
        Verb::Advise(a) => advise::advice(&a, output),
        Verb::Info(a) => info::info(&a, output),
        Verb::Data(a) => data::data(&a, output),
        Verb::Devices => info::devices(output),
    }
}
