//! A study as a Snakemake workflow: each cell a rule's job, pre-training shared, the report last.

use super::design::Design;

/// Comment of every Snakefile.
const COMMENT: &str = "\
# Made by `prunella study plan`; run it with: snakemake --cores all --retries 2
# On Slurm: snakemake --executor slurm --jobs 50 --retries 2 \
    --default-resources slurm_partition=main
# If sacct says that accounting storage is disabled, add --slurm-status-command squeue: \
    without it finished jobs are never noticed.
# Short cells end sooner with --slurm-init-seconds-before-status-checks 10.
";
/// Command of the rules, with Snakemake's own placeholders.
const RUN_CELL: &str = "RAYON_NUM_THREADS={threads} {PRUNELLA} study cell .";

/// The Snakefile of a design whose folder holds `design.toml`. Paths are relative to that folder;
/// `data` is the folder of labelled tiles as all machines name it.
#[must_use]
pub(crate) fn snakefile(design: &Design, data: Option<&str>) -> String {
    // Entries of two Python dictionaries: pre-training → network, and cell → pre-training.
    let mut pretrained: Vec<String> = Vec::new();
    let mut cells: Vec<String> = Vec::new();
    for cell in design.cells() {
        let pretrain_id = match design.pretrain_recipe(cell.network) {
            Some(_) => design.pretrain_id(cell.network),
            None => String::new(),
        };
        cells.push(format!("    \"{}\": \"{pretrain_id}\",", cell.id));
        let entry = format!("    \"{pretrain_id}\": \"{}\",", cell.network.name());
        if !pretrain_id.is_empty() && !pretrained.contains(&entry) {
            pretrained.push(entry);
        }
    }
    let data = data.map_or(String::new(), |folder| format!(" --data {}", quoted(folder)));
    format!(
        r#"{COMMENT}import os

PRUNELLA = os.environ.get("PRUNELLA", "prunella")
# Pre-trainings and their networks; cells and the pre-training each needs.
PRETRAINED = {{
{pretrained}
}}
CELLS = {{
{cells}
}}

localrules: report

rule report:
    input: expand("cells/{{cell}}.json", cell=CELLS)
    output: "report.html", "results.csv", "results.json"
    shell: "{{PRUNELLA}} study report ."

rule pretrain:
    output: "pretrained/{{id}}.safetensors"
    wildcard_constraints: id="|".join(PRETRAINED) or "none"
    params: network=lambda w: PRETRAINED[w.id]
    threads: 2
    resources: mem_mb=4000, runtime=720
    shell: "{RUN_CELL} --pretrain {{params.network}}{data}"

rule cell:
    input: lambda w: [f"pretrained/{{CELLS[w.id]}}.safetensors"] if CELLS[w.id] else []
    output: "cells/{{id}}.json"
    wildcard_constraints: id="|".join(CELLS)
    threads: 1
    resources: mem_mb=4000, runtime=720
    shell: "{RUN_CELL} --id {{wildcards.id}}{data}"
"#,
        pretrained = pretrained.join("\n"),
        cells = cells.join("\n"),
    )
}

/// A path as a word of the shell inside a Python string that Snakemake formats: Python escapes
/// `\` and `"`, Snakemake doubles braces, the shell ends and reopens its quotes around `'`.
fn quoted(path: &str) -> String {
    let python = path.replace('\\', "\\\\").replace('"', "\\\"");
    let snakemake = python.replace('{', "{{").replace('}', "}}");
    format!("'{}'", snakemake.replace('\'', "'\\\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_and_its_pre_training_is_in_the_workflow() {
        let design = Design::built_in("smoke").expect("design");
        let text = snakefile(&design, Some("/data/kumar tiles"));
        for cell in design.cells() {
            assert!(text.contains(&format!("\"{}\"", cell.id)), "{}", cell.id);
        }
        assert!(text.contains("--data '/data/kumar tiles'"));
        assert_eq!(text.matches("small-pretrained-").count(), 1 + design.cells().len());
    }
}
