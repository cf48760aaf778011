//! `prunella slide plan`: many slides as a Snakemake workflow, a job for each.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use super::output_files::check_outputs;
use super::slide_inputs::{SlideInput, is_address, slide_inputs};
use super::slide_run::check_files;
use super::slide_segment::SlideSegmentArguments;
use crate::error::{Error, Result, counted};
use crate::platform::{csv_field, write_atomic};
use crate::raster::StainMode;
use crate::whole_slide::SlideRegion;

/// Name of the list of slides in the folder of results.
const LIST_FILE: &str = "list.csv";
const LIST_HEADER: &str = "slide,mpp,inside,regions,name";
/// Comment of every Snakefile.
const COMMENT: &str = "\
# Made by `prunella slide plan`; run it with: snakemake --cores all --retries 2
# On Slurm: snakemake --executor slurm --jobs 50 --retries 2 \
    --default-resources slurm_partition=main
# A slide that cannot be read is noted in slides.csv and ends nothing; a job that is killed goes on
# where it was.
";

/// Write a Snakemake workflow that segments slides, a job for each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella slide plan slides/ --model models/open-small.safetensors --out result
  cd result && snakemake --cores all --retries 2
  prunella slide plan list.csv --model m.safetensors --regions annotations/ --out result

The options are those of 'slide segment', and the results are those of one run of it. Files are
named by their absolute paths, which the machines of a cluster must share.")]
pub(super) struct SlidePlanArguments {
    #[command(flatten)]
    segment: SlideSegmentArguments,
}

/// `prunella slide plan`.
pub(super) fn plan(arguments: &SlidePlanArguments, output: Output) -> Result<CommandOutcome> {
    let a = &arguments.segment;
    let inputs = slide_inputs(&a.slides, &a.out)?;
    output.warnings(&inputs.notes);
    check_files(a, &inputs, inputs.all.len())?;
    let [list, workflow] = [LIST_FILE, "Snakefile"].map(|name| a.out.join(name));
    check_own(&list, LIST_HEADER)?;
    check_own(&workflow, COMMENT.lines().next().unwrap_or_default())?;
    check_outputs(&[list.clone(), workflow.clone()], &inputs.lists)?;
    write_atomic(&list, list_text(&inputs.all).as_bytes())?;
    write_atomic(&workflow, snakefile(&inputs.all, &options(a))?.as_bytes())?;
    let slides = inputs.all.len();
    output.result(
        &json!({ "workflow": workflow, "list": list, "slides": slides }),
        &format!("{} ({})", workflow.display(), counted(slides, "slide", "slides")),
    )?;
    Ok(CommandOutcome::Done)
}

/// Refuses to replace a file that another program or a person wrote, by its first line.
fn check_own(file: &Path, first_line: &str) -> Result<()> {
    let Ok(text) = std::fs::read(file) else { return Ok(()) };
    if text.is_empty() || text.starts_with(first_line.as_bytes()) {
        return Ok(());
    }
    Err(Error::invalid(
        "A file that is not prunella's has the name of a part of the workflow and is not replaced; \
         choose another folder",
    )
    .at(file))
}

/// A path that does not depend on where a job runs; addresses stay.
fn absolute(path: &Path) -> String {
    let is_address = path.to_str().is_some_and(is_address);
    let found = if is_address { None } else { std::path::absolute(path).ok() };
    found.unwrap_or_else(|| path.to_path_buf()).to_string_lossy().into_owned()
}

fn list_text(slides: &[SlideInput]) -> String {
    let mut text = format!("{LIST_HEADER}\n");
    for slide in slides {
        let file = |path: &Option<PathBuf>| path.as_deref().map_or(String::new(), absolute);
        let fields = [
            absolute(Path::new(&slide.place)),
            slide.mpp.map_or(String::new(), |mpp| mpp.to_string()),
            file(&slide.inside),
            file(&slide.regions),
            slide.name.clone(),
        ];
        text += &(fields.map(|field| csv_field(&field)).join(",") + "\n");
    }
    text
}

/// The options of `slide segment`, word by word.
fn options(a: &SlideSegmentArguments) -> Vec<String> {
    let mut words = vec!["--model".to_owned(), absolute(&a.model)];
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            // In one word, so that a value may begin with a minus.
            words.push(format!("--{option}={value}"));
        }
    };
    add("mpp", a.mpp.map(|mpp| mpp.to_string()));
    if let Some(SlideRegion::Rectangle { x, y, width, height }) = &a.region {
        add("region", Some(format!("{x},{y},{width},{height}")));
    }
    add("inside", a.inside.as_deref().map(absolute));
    add("regions", a.regions.as_deref().map(absolute));
    add("grid", a.grid.map(|side| side.to_string()));
    add("threshold", a.how.threshold.map(|threshold| threshold.to_string()));
    add("stride", Some(a.how.stride.to_string()));
    add("block", a.how.block.map(|block| block.to_string()));
    add("device", Some(a.how.device.to_string()));
    let stain = match a.how.stain {
        StainMode::Auto => "auto",
        StainMode::Keep => "keep",
        StainMode::Match => "match",
    };
    add("stain", Some(stain.to_owned()));
    if a.background {
        words.push("--background".to_owned());
    }
    words
}

/// The workflow; paths are relative to its folder. Lists in JSON are lists in Python.
fn snakefile(slides: &[SlideInput], options: &[String]) -> Result<String> {
    let python = |values: &[String]| {
        serde_json::to_string_pretty(values)
            .map_err(|e| Error::malformed("The workflow cannot be written").caused_by(e))
    };
    let names: Vec<String> = slides.iter().map(|slide| slide.name.clone()).collect();
    Ok(format!(
        r#"{COMMENT}import os

PRUNELLA = os.environ.get("PRUNELLA", "prunella")
OPTIONS = {options}
# Names of results, as {LIST_FILE} has them.
SLIDES = {names}

localrules: table

rule table:
    input: expand("rows/{{number}}.csv", number=range(len(SLIDES)))
    output: "slides.csv"
    run:
        with open(output[0], "w", encoding="utf-8", newline="") as table:
            for number, file in enumerate(input):
                with open(file, encoding="utf-8", newline="") as row:
                    header, text = row.read().split("\n", 1)
                table.write(text if number else header + "\n" + text)

rule slide:
    output: "rows/{{number}}.csv"
    wildcard_constraints: number="[0-9]+"
    params: name=lambda w: SLIDES[int(w.number)], options=OPTIONS
    threads: 2
    resources: mem_mb=2000, runtime=1440
    shell:
        "RAYON_NUM_THREADS={{threads}} {{PRUNELLA}} slide segment {LIST_FILE} --out ."
        " --only={{params.name:q}} --row={{output:q}} {{params.options:q}}"
        " || grep -Eq ',(done|failed),' {{output:q}}"
"#,
        options = python(options)?,
        names = python(&names)?,
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        plan: SlidePlanArguments,
    }

    fn parsed(words: &[&str]) -> SlideSegmentArguments {
        let words = ["prunella"].iter().chain(words);
        Command::try_parse_from(words).expect("arguments").plan.segment
    }

    #[test]
    fn jobs_have_the_options_of_the_plan() {
        let all = [
            "slides",
            "--model",
            "m.safetensors",
            "--out",
            "out",
            "--mpp=0.25",
            "--region=-5,0,1000,2000.5",
            "--regions",
            "r",
            "--grid=50",
            "--threshold=0.4",
            "--stride=2",
            "--block=512",
            "--device=gpu:1",
            "--stain=match",
            "--background",
        ];
        let planned = parsed(&all);
        let words = options(&planned);
        let mut again = vec!["list.csv", "--out", "."];
        again.extend(words.iter().map(String::as_str));
        let again = parsed(&again);
        assert_eq!(options(&again), words);
        assert_eq!(again.region, planned.region);
        assert_eq!((again.mpp, again.grid, again.background), (Some(0.25), Some(50.0), true));
        assert!(again.model.is_absolute() && again.regions.is_some_and(|r| r.is_absolute()));
        assert_eq!(options(&parsed(&["a", "--model", "m", "--out", "o"])).len(), 5);
    }

    #[test]
    fn every_slide_is_a_job() {
        let slides = ["a", "case 2/b \"x\""].map(|name| SlideInput {
            mpp: (name == "a").then_some(0.5),
            ..SlideInput::of_place("/data/s, 1.svs", name.to_owned())
        });
        let text = snakefile(&slides, &["--model".into(), "/m'.safetensors".into()]).expect("text");
        assert!(text.contains("\"case 2/b \\\"x\\\"\"") && text.contains("\"/m'.safetensors\""));
        assert_eq!(
            list_text(&slides),
            "slide,mpp,inside,regions,name\n\"/data/s, 1.svs\",0.5,,,a\n\
             \"/data/s, 1.svs\",,,,\"case 2/b \"\"x\"\"\"\n"
        );
    }
}
