//! Training against PyTorch on the same CPU, side by side in one run: `cargo xtask bench train [--json]` sets PyTorch up and
//! runs this. Same networks, batch and optimiser; every ratio is the median over rounds in which both ran one after the other.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops when it cannot measure"
)]

mod side_by_side;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use prunella::dataset::{Augmentation, Tile, phantom};
use prunella::model::{Architecture, Model, dcnn};
use prunella::train::{Compute, Event, Recipe, TrainData, Trainer};
use side_by_side::{Peer, median};

const ROUNDS: usize = 5;
/// Steps of one round; a step more is taken to warm up.
const STEPS: usize = 6;

/// Patches a second in PyTorch.
fn peer_rate(peer: &mut Peer, name: &str, batch: usize) -> f64 {
    (batch * STEPS) as f64 / peer.seconds(&format!("train {name} {batch} {STEPS}"))
}

/// Patches a second over the steps after the first, gathering from tiles included.
fn rate(model: &Model, compute: &Compute, tiles: &[Tile], batch: usize, spread: usize) -> f64 {
    let places = batch * (STEPS + 1);
    let recipe = Recipe {
        patches: (places * spread * spread * 10).div_ceil(7),
        spread,
        batch,
        epochs: 1,
        weight_decay: 1e-2,
        augmentation: Augmentation::NONE,
        ..Recipe::default()
    };
    let cancel = AtomicBool::new(false);
    let trainer = Trainer {
        start: model,
        data: TrainData { tiles },
        recipe: &recipe,
        compute,
        teacher: None,
        checkpoint: None,
        checkpoint_every: Duration::from_hours(1),
        cancel: &cancel,
    };
    let mut times = Vec::new();
    let outcome = trainer.run(&mut |event| {
        if let Event::Step { .. } = event {
            times.push(Instant::now());
        }
    });
    outcome.unwrap();
    let steps = STEPS.min(times.len() - 1);
    (steps * batch * spread * spread) as f64 / (times[steps] - times[0]).as_secs_f64()
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let mut peer = Peer::start("train_peer.py", &[rayon::current_num_threads().to_string()]);
    let tiles: Vec<Tile> = (0..4).map(|i| phantom::tile(400, 400, i)).collect();
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    let mut rows: Vec<[String; 3]> = Vec::new();
    let networks = [
        ("d00", "δ = 0", Architecture::paper_dcnn()),
        ("d50", "δ = 0.5", dcnn([13, 25, 40], 1024, 2)),
        ("d90", "δ = 0.9", dcnn([3, 5, 8], 1024, 2)),
    ];
    for (key, name, architecture) in networks {
        let model = Model::random(architecture, 1).unwrap();
        let (ours, burn) = (Compute::fastest_cpu(&model), Compute::cpu());
        peer_rate(&mut peer, key, 64);
        for batch in [64, 256] {
            let mut found = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                found[0].push(rate(&model, &ours, &tiles, batch, 1));
                found[1].push(peer_rate(&mut peer, key, batch));
            }
            found[2].push(rate(&model, &burn, &tiles, 64, 1));
            let ratio = median(found[0].iter().zip(&found[1]).map(|(a, b)| a / b).collect());
            let [ours, theirs, burn] = found.map(median);
            values.insert(format!("patches_over_pytorch_{key}_b{batch}"), ratio);
            values.insert(format!("patches_per_s_{key}_b{batch}"), ours);
            rows.push([
                format!("patch by patch, {name}, batch {batch}: ours / PyTorch"),
                format!("{ratio:.2} ({ours:.0} / {theirs:.0} patches/s; Burn flex {burn:.0})"),
                if key == "d00" { "≥ 0.7".into() } else { String::new() },
            ]);
        }
        for spread in [8, 16] {
            let rounds: Vec<(f64, f64)> = (0..ROUNDS)
                .map(|_| (rate(&model, &ours, &tiles, 64, spread), rate(&model, &ours, &tiles, 64, 1)))
                .collect();
            let ratio = median(rounds.iter().map(|(a, b)| a / b).collect());
            let pixels = median(rounds.iter().map(|r| r.0).collect());
            values.insert(format!("squares_{spread}_over_patches_{key}"), ratio);
            rows.push([
                format!("squares of {spread}×{spread}, {name}: pixels/s over patches/s"),
                format!("{ratio:.1}× ({pixels:.0} pixels/s)"),
                if key == "d00" { "≥ 3×".into() } else { String::new() },
            ]);
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&values).unwrap());
        return;
    }
    println!("| what | found | goal |\n|---|---|---|");
    rows.iter().for_each(|[what, found, goal]| println!("| {what} | {found} | {goal} |"));
}
