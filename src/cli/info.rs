//! `prunella info` and `prunella devices`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::error::Result;
use crate::model::{Card, Family, Model, Node, Op};
use crate::train::{TrainAdapter, adapters};

/// Show a model's layers, shapes, parameters, cost and card.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella info models/open-medium.safetensors
  prunella info model.safetensors --json | jq .parameters")]
pub(super) struct InfoArguments {
    /// A model file (.safetensors).
    model: PathBuf,
}

#[derive(Serialize)]
struct ModelInfo<'a> {
    family: Family,
    parameters: usize,
    /// Multiply-adds.
    macs_per_patch: u64,
    /// Of the file.
    bytes: u64,
    receptive_field_px: usize,
    fingerprint: String,
    layers: Vec<LayerInfo<'a>>,
    card: &'a Card,
}

#[derive(Serialize)]
struct LayerInfo<'a> {
    name: &'a str,
    /// Of the output: channels, height, width.
    shape: [usize; 3],
    parameters: usize,
    /// Multiply-adds per patch.
    macs: u64,
}

/// `prunella info`.
pub(super) fn info(arguments: &InfoArguments, output: Output) -> Result<CommandOutcome> {
    let model = Model::load(&arguments.model)?;
    let graph = model.graph();
    let card = model.card();
    let mut layers = Vec::new();
    for node in graph.nodes.iter().filter(|n| is_layer(n)) {
        layers.push(LayerInfo {
            name: &node.name,
            shape: [node.shape.channels, node.shape.height, node.shape.width],
            parameters: parameters_of(&model, node),
            macs: graph.macs_of(node),
        });
    }
    let info = ModelInfo {
        family: card.architecture.family(),
        parameters: graph.parameters(),
        macs_per_patch: graph.macs(),
        bytes: std::fs::metadata(&arguments.model).map_or(0, |m| m.len()),
        receptive_field_px: graph.receptive_field(graph.nodes.len() - 1),
        fingerprint: model.fingerprint(),
        layers,
        card,
    };
    output.result(&json!(info), &describe(&info))?;
    Ok(CommandOutcome::Done)
}

/// Nodes that are listed: all but those without parameters of their own or a new shape.
fn is_layer(node: &Node) -> bool {
    !matches!(node.op, Op::Relu | Op::Concat)
}

fn parameters_of(model: &Model, node: &Node) -> usize {
    let mut parameters = 0;
    for array in model.graph().arrays_of(node) {
        if array.role.is_parameter() {
            parameters += array.shape.iter().product::<usize>();
        }
    }
    parameters
}

fn describe(info: &ModelInfo<'_>) -> String {
    let mut text =
        format!("{:<44} {:>14} {:>12} {:>14}\n", "layer", "output", "parameters", "MACs");
    for layer in &info.layers {
        let [channels, height, width] = layer.shape;
        let shape = format!("{channels}×{height}×{width}");
        text += &format!(
            "{:<44} {shape:>14} {:>12} {:>14}\n",
            layer.name, layer.parameters, layer.macs
        );
    }
    let card = info.card;
    text += &format!(
        "\n{} with {} parameters, {} MACs a patch, {} bytes on disk\n",
        info.family.name().to_uppercase(),
        info.parameters,
        info.macs_per_patch,
        info.bytes
    );
    text += &format!(
        "reads {0}×{0} RGB patches at {1} µm a pixel and classifies the centre pixel as {2}\n",
        card.input_size_px,
        card.mpp_um,
        card.classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(" or ")
    );
    if let Some(um) = card.border_um {
        text += &format!("the border is {um} µm wide, inside nuclei\n");
    }
    if let Some(range) = &card.stain {
        let [min, max] = [range.min.mean, range.max.mean].map(|od| od.map(|v| format!("{v:.2}")));
        text += &format!(
            "trained on tissue with an optical density of {} to {} in red, {} to {} in green, {} \
             to {} in blue\n",
            min[0], max[0], min[1], max[1], min[2], max[2]
        );
    }
    text += &format!("pruning ratio {}\n", card.pruning_ratio);
    for (data, scores) in &card.metrics {
        text += &format!("{data}: {scores}\n");
    }
    text += &format!("licence: {}\n", card.licence.as_deref().unwrap_or("not stated"));
    for source in &card.data_sources {
        let mut facts = vec![source.name.as_str()];
        facts.extend(source.licence.as_deref());
        facts.extend(source.citation.as_deref());
        text += &format!("trained on {}\n", facts.join("; "));
    }
    text += &format!("fingerprint {}\n", info.fingerprint);
    text
}

/// `prunella devices`.
pub(super) fn devices(output: Output) -> Result<CommandOutcome> {
    let threads = rayon::current_num_threads();
    let adapters = adapters();
    let mut text = format!("cpu      {threads} threads; always available\n");
    for adapter in &adapters {
        text += &adapter_line(adapter);
    }
    if adapters.is_empty() {
        text += "No graphics adapter was found; training and segmentation use the CPU.\n";
    }
    output.result(&json!({ "cpu_threads": threads, "adapters": adapters }), &text)?;
    Ok(CommandOutcome::Done)
}

fn adapter_line(adapter: &TrainAdapter) -> String {
    let facts = &adapter.facts;
    let mut line = format!(
        "gpu:{}    {} ({} {}, {})",
        adapter.index, facts.name, facts.backend, facts.kind, facts.driver
    );
    if facts.software {
        line += ", software: slower than the CPU engine, used only when it is asked for";
    }
    if !adapter.trains {
        line += ", segments only";
    }
    line + "\n"
}
