//! `prunella info` and `prunella devices`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::CommandOutcome;
use super::output::Output;
use crate::error::Result;
use crate::model::{Model, Node, Op};
use crate::train::adapters;

/// Show a model's layers, shapes, parameters, cost and card.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  prunella info models/dcnn-50.safetensors
  prunella info model.safetensors --json | jq .parameters")]
pub struct InfoArguments {
    /// A model file (.safetensors).
    model: PathBuf,
}

/// `prunella info`.
pub fn info(arguments: &InfoArguments, output: Output) -> Result<CommandOutcome> {
    let model = Model::load(&arguments.model)?;
    let bytes = std::fs::metadata(&arguments.model).map_or(0, |m| m.len());
    let (graph, card) = (model.graph(), model.card());
    let last = graph.nodes.len() - 1;
    let layers: Vec<serde_json::Value> = graph
        .nodes
        .iter()
        .filter(|n| is_layer(n))
        .map(|n| {
            json!({ "name": n.name, "shape": [n.shape.channels, n.shape.height, n.shape.width],
                         "parameters": parameters_of(&model, n), "macs": graph.macs_of(n) })
        })
        .collect();
    let value = json!({
        "family": card.architecture.family(), "parameters": graph.parameters(), "macs_per_patch": graph.macs(),
        "bytes": bytes, "receptive_field_px": graph.receptive_field(last), "fingerprint": model.fingerprint(),
        "layers": layers, "card": card,
    });
    output.result(&value, &describe(&model, bytes))?;
    Ok(CommandOutcome::Done)
}

fn is_layer(node: &Node) -> bool {
    !matches!(node.op, Op::Relu | Op::Concat)
}

fn parameters_of(model: &Model, node: &Node) -> usize {
    let arrays = model.graph().arrays_of(node);
    arrays.iter().filter(|a| a.role.is_parameter()).map(|a| a.shape.iter().product::<usize>()).sum()
}

fn describe(model: &Model, bytes: u64) -> String {
    let (graph, card) = (model.graph(), model.card());
    let mut text = String::new();
    let mut line = |s: String| text += &(s + "\n");
    line(format!("{:<44} {:>14} {:>12} {:>14}", "layer", "output", "parameters", "MACs"));
    for node in graph.nodes.iter().filter(|n| is_layer(n)) {
        let shape = format!("{}×{}×{}", node.shape.channels, node.shape.height, node.shape.width);
        line(format!(
            "{:<44} {shape:>14} {:>12} {:>14}",
            node.name,
            parameters_of(model, node),
            graph.macs_of(node)
        ));
    }
    line(String::new());
    line(format!(
        "{} with {} parameters, {} MACs a patch, {bytes} bytes on disk",
        card.architecture.family().name().to_uppercase(),
        graph.parameters(),
        graph.macs()
    ));
    line(format!(
        "reads {0}×{0} RGB patches at {1} µm a pixel and classifies the centre pixel as {2}",
        card.input_size_px,
        card.mpp_um,
        card.classes.join(" or ")
    ));
    line(format!("pruning ratio {}", card.pruning_ratio));
    for (data, score) in &card.metrics {
        line(format!("{data}: {score}"));
    }
    line(format!("licence: {}", card.licence.as_deref().unwrap_or("not stated")));
    line(format!("fingerprint {}", model.fingerprint()));
    text
}

/// `prunella devices`: what can compute here.
pub fn devices(output: Output) -> Result<CommandOutcome> {
    let all = adapters();
    let mut text = format!("cpu      {} threads; always there\n", rayon::current_num_threads());
    for a in &all {
        let trains = if a.trains { "" } else { ", segments only" };
        let software = if a.facts.software {
            ", software: slower than the CPU path, only used when asked for"
        } else {
            ""
        };
        text += &(format!(
            "gpu:{}    {} ({} {}, {}){software}{trains}",
            a.index, a.facts.name, a.facts.backend, a.facts.kind, a.facts.driver
        ) + "\n");
    }
    if all.is_empty() {
        text.push_str("No graphics adapter was found; training and segmentation use the CPU.\n");
    }
    output
        .result(&json!({ "cpu_threads": rayon::current_num_threads(), "adapters": all }), &text)?;
    Ok(CommandOutcome::Done)
}
