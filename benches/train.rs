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

use prunella::dataset::{Tile, phantom};
use prunella::model::{Architecture, Model, dccn, dcnn};
use prunella::train::{Compute, Event, Recipe, TrainData, Trainer};
use side_by_side::{Peer, median};

const ROUNDS: usize = 5;
/// Steps of one round; a step more is taken to warm up.
const STEPS: usize = 6;

/// Patches a second in `PyTorch`.
fn peer_rate(peer: &mut Peer, name: &str, batch: usize) -> f64 {
    (batch * STEPS) as f64 / peer.seconds(&format!("train {name} {batch} {STEPS}"))
}

/// Patches a second over the steps after the first, gathering from tiles included.
fn rate(
    network: &Network,
    compute: &Compute,
    tiles: &[Tile],
    batch: usize,
    square_px: usize,
) -> f64 {
    let samples = batch * (STEPS + 1);
    let recipe = Recipe {
        patches: (samples * square_px * square_px * 10).div_ceil(7),
        square_px,
        batch,
        epochs: 1,
        weight_decay: 1e-2,
        ..Recipe::DEFAULT
    };
    let cancel = AtomicBool::new(false);
    let trainer = Trainer {
        start: &network.model,
        data: TrainData { tiles },
        recipe: &recipe,
        compute,
        teachers: &[],
        checkpoint: None,
        checkpoint_every: Duration::from_hours(1),
        ends_collapsed: false,
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
    (steps * batch * square_px * square_px) as f64 / (times[steps] - times[0]).as_secs_f64()
}

/// What is measured.
struct Network {
    key: &'static str,
    name: &'static str,
    model: Model,
    /// Whether the goals of the table are stated for it.
    goal: bool,
}

impl Network {
    fn new(key: &'static str, name: &'static str, architecture: Architecture, goal: bool) -> Self {
        Self { key, name, model: Model::random(architecture, 1).unwrap(), goal }
    }

    fn is_dcnn(&self) -> bool {
        matches!(self.model.card().architecture, Architecture::Dcnn { .. })
    }

    fn goal(&self, text: &str) -> String {
        if self.goal { text.into() } else { String::new() }
    }
}

fn networks() -> [Network; 6] {
    [
        Network::new("d00", "DCNN, δ = 0", Architecture::paper_dcnn(), true),
        Network::new("d50", "DCNN, δ = 0.5", dcnn([13, 25, 40], 1024, 2), false),
        Network::new("d90", "DCNN, δ = 0.9", dcnn([3, 5, 8], 1024, 2), false),
        Network::new("dccn_d00", "DCCN, δ = 0", Architecture::paper_dccn(), true),
        Network::new("dccn_d50", "DCCN, δ = 0.5", dccn(32, 64, 16, [64, 128, 256], 2), false),
        Network::new("dccn_d90", "DCCN, δ = 0.9", dccn(7, 13, 4, [13, 26, 52], 2), false),
    ]
}

/// Values by key, and rows of the printed table.
#[derive(Default)]
struct Measurements {
    values: BTreeMap<String, f64>,
    rows: Vec<[String; 3]>,
}

impl Measurements {
    fn patches(&mut self, peer: &mut Peer, tiles: &[Tile], network: &Network) {
        let Network { key, name, .. } = network;
        peer_rate(peer, key, 64);
        // A large batch of the DCCN takes a quarter of a minute a round.
        let batches: &[usize] = if network.is_dcnn() { &[64, 256] } else { &[64] };
        for &batch in batches {
            let mut ours = Vec::new();
            let mut theirs = Vec::new();
            let mut ratios = Vec::new();
            for _ in 0..ROUNDS {
                let own = rate(network, &Compute::cpu(), tiles, batch, 1);
                let peer = peer_rate(peer, key, batch);
                ours.push(own);
                theirs.push(peer);
                ratios.push(own / peer);
            }
            let burn = rate(network, &Compute::burn_cpu(), tiles, 64, 1);
            let ratio = median(ratios);
            let ours = median(ours);
            let theirs = median(theirs);
            self.values.insert(format!("patches_over_pytorch_{key}_b{batch}"), ratio);
            self.values.insert(format!("patches_per_s_{key}_b{batch}"), ours);
            self.rows.push([
                format!("patch by patch, {name}, batch {batch}: ours / PyTorch"),
                format!("{ratio:.2} ({ours:.0} / {theirs:.0} patches/s; Burn flex {burn:.0})"),
                network.goal("≥ 0.7"),
            ]);
        }
    }

    fn squares(&mut self, tiles: &[Tile], network: &Network) {
        let Network { key, name, .. } = network;
        for side in [8, 16] {
            let mut pixels = Vec::new();
            let mut ratios = Vec::new();
            for _ in 0..ROUNDS {
                let by_squares = rate(network, &Compute::cpu(), tiles, 64, side);
                let by_patches = rate(network, &Compute::cpu(), tiles, 64, 1);
                pixels.push(by_squares);
                ratios.push(by_squares / by_patches);
            }
            let ratio = median(ratios);
            let pixels = median(pixels);
            self.values.insert(format!("squares_{side}_over_patches_{key}"), ratio);
            self.rows.push([
                format!("squares of {side}×{side}, {name}: pixels/s over patches/s"),
                format!("{ratio:.1}× ({pixels:.0} pixels/s)"),
                network.goal("≥ 3×"),
            ]);
        }
    }

    /// One group of 32 patches by all threads, over one thread.
    fn threads(&mut self, tiles: &[Tile], network: &Network) {
        let Network { key, name, .. } = network;
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let mut all = Vec::new();
        let mut one = Vec::new();
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let by_all = rate(network, &Compute::cpu(), tiles, 32, 1);
            let by_one = single.install(|| rate(network, &Compute::cpu(), tiles, 32, 1));
            all.push(by_all);
            one.push(by_one);
            ratios.push(by_all / by_one);
        }
        let ratio = median(ratios);
        let all = median(all);
        let one = median(one);
        let threads = rayon::current_num_threads();
        self.values.insert(format!("threads_{threads}_over_1_{key}_b32"), ratio);
        self.rows.push([
            format!("batch 32, {name}: {threads} threads / 1"),
            format!("{ratio:.2}× ({all:.0} / {one:.0} patches/s)"),
            String::new(),
        ]);
    }
}

/// `--json`, and networks by key (all without one).
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let json = arguments.iter().any(|a| a == "--json");
    let keys: Vec<&String> = arguments.iter().filter(|a| *a != "--json").collect();
    let mut peer = Peer::start("train_peer.py", &[rayon::current_num_threads().to_string()]);
    let tiles: Vec<Tile> = (0..4).map(|i| phantom::tile(400, 400, i)).collect();
    let mut measured = Measurements::default();
    for network in networks() {
        if !keys.is_empty() && !keys.iter().any(|key| *key == network.key) {
            continue;
        }
        measured.patches(&mut peer, &tiles, &network);
        if network.is_dcnn() {
            measured.squares(&tiles, &network);
        }
        measured.threads(&tiles, &network);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&measured.values).unwrap());
        return;
    }
    println!("| what | found | goal |\n|---|---|---|");
    for [what, found, goal] in measured.rows {
        println!("| {what} | {found} | {goal} |");
    }
}
