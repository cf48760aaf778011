//! Training against PyTorch on the same CPU, side by side in one run: `cargo xtask bench train
//! [--json]` sets PyTorch up and runs this. Same networks, batch and optimiser; every ratio is the
//! median over rounds in which both ran one after the other.

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
use prunella::model::{Architecture, Model, dccn, dcnn};
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
        teachers: &[],
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

/// What is measured: key, name, network, whether the goal is stated for it.
fn networks() -> [(&'static str, &'static str, Architecture, bool); 6] {
    [
        ("d00", "DCNN, δ = 0", Architecture::paper_dcnn(), true),
        ("d50", "DCNN, δ = 0.5", dcnn([13, 25, 40], 1024, 2), false),
        ("d90", "DCNN, δ = 0.9", dcnn([3, 5, 8], 1024, 2), false),
        ("dccn_d00", "DCCN, δ = 0", Architecture::paper_dccn(), true),
        ("dccn_d50", "DCCN, δ = 0.5", dccn(32, 64, 16, [64, 128, 256], 2), false),
        ("dccn_d90", "DCCN, δ = 0.9", dccn(7, 13, 4, [13, 26, 52], 2), false),
    ]
}

fn is_chain(model: &Model) -> bool {
    matches!(model.card().architecture, Architecture::Dcnn { .. })
}

/// Values by key, and rows of the printed table.
#[derive(Default)]
struct Warnings {
    values: BTreeMap<String, f64>,
    rows: Vec<[String; 3]>,
}

impl Warnings {
    fn patches(
        &mut self,
        peer: &mut Peer,
        tiles: &[Tile],
        (key, name, model, goal): (&str, &str, &Model, bool),
    ) {
        let (ours, burn) = (Compute::fastest_cpu(model), Compute::cpu());
        peer_rate(peer, key, 64);
        // A large batch of the DCCN takes a quarter of a minute a round.
        let batches: &[usize] = if is_chain(model) { &[64, 256] } else { &[64] };
        for &batch in batches {
            let mut found = [Vec::new(), Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                found[0].push(rate(model, &ours, tiles, batch, 1));
                found[1].push(peer_rate(peer, key, batch));
            }
            found[2].push(rate(model, &burn, tiles, 64, 1));
            let ratio = median(found[0].iter().zip(&found[1]).map(|(a, b)| a / b).collect());
            let [ours, theirs, burn] = found.map(median);
            self.values.insert(format!("patches_over_pytorch_{key}_b{batch}"), ratio);
            self.values.insert(format!("patches_per_s_{key}_b{batch}"), ours);
            self.rows.push([
                format!("patch by patch, {name}, batch {batch}: ours / PyTorch"),
                format!("{ratio:.2} ({ours:.0} / {theirs:.0} patches/s; Burn flex {burn:.0})"),
                if goal { "≥ 0.7".into() } else { String::new() },
            ]);
        }
    }

    fn squares(&mut self, tiles: &[Tile], (key, name, model, goal): (&str, &str, &Model, bool)) {
        let ours = Compute::fastest_cpu(model);
        for spread in [8, 16] {
            let rounds: Vec<(f64, f64)> = (0..ROUNDS)
                .map(|_| (rate(model, &ours, tiles, 64, spread), rate(model, &ours, tiles, 64, 1)))
                .collect();
            let ratio = median(rounds.iter().map(|(a, b)| a / b).collect());
            let pixels = median(rounds.iter().map(|r| r.0).collect());
            self.values.insert(format!("squares_{spread}_over_patches_{key}"), ratio);
            self.rows.push([
                format!("squares of {spread}×{spread}, {name}: pixels/s over patches/s"),
                format!("{ratio:.1}× ({pixels:.0} pixels/s)"),
                if goal { "≥ 3×".into() } else { String::new() },
            ]);
        }
    }
}

/// One group of 32 patches by all threads, over one thread.
fn shared(report: &mut Warnings, tiles: &[Tile], (key, name, model): (&str, &str, &Model)) {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let ours = Compute::fastest_cpu(model);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS)
        .map(|_| {
            (rate(model, &ours, tiles, 32, 1), alone.install(|| rate(model, &ours, tiles, 32, 1)))
        })
        .collect();
    let ratio = median(rounds.iter().map(|(all, one)| all / one).collect());
    let [all, one] = [
        median(rounds.iter().map(|r| r.0).collect()),
        median(rounds.iter().map(|r| r.1).collect()),
    ];
    let threads = rayon::current_num_threads();
    report.values.insert(format!("threads_{threads}_over_1_{key}_b32"), ratio);
    let found = format!("{ratio:.2}× ({all:.0} / {one:.0} patches/s)");
    report.rows.push([format!("batch 32, {name}: {threads} threads / 1"), found, String::new()]);
}

/// `--json`, and networks by key (all without one).
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let json = arguments.iter().any(|a| a == "--json");
    let chosen =
        |key: &str| arguments.iter().all(|a| a == "--json") || arguments.iter().any(|a| a == key);
    let mut peer = Peer::start("train_peer.py", &[rayon::current_num_threads().to_string()]);
    let tiles: Vec<Tile> = (0..4).map(|i| phantom::tile(400, 400, i)).collect();
    let mut report = Warnings::default();
    for (key, name, architecture, goal) in networks().into_iter().filter(|n| chosen(n.0)) {
        let model = Model::random(architecture, 1).unwrap();
        report.patches(&mut peer, &tiles, (key, name, &model, goal));
        if is_chain(&model) {
            report.squares(&tiles, (key, name, &model, goal));
        }
        shared(&mut report, &tiles, (key, name, &model));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&report.values).unwrap());
        return;
    }
    println!("| what | found | goal |\n|---|---|---|");
    report.rows.iter().for_each(|[what, found, goal]| println!("| {what} | {found} | {goal} |"));
}
