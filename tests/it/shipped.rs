//! The models in `models/` open, say what they are, and segment.

use prunella::dataset::phantom;
use prunella::engine::{Control, SegmentOptions, segment};
use prunella::model::Model;

use crate::support::root;

#[test]
fn every_shipped_model_opens_states_licence_and_scores_and_segments() {
    for (name, ratio, parameters) in
        [("00", 0.0, 916_959), ("50", 0.5, 416_541), ("90", 0.9, 78_777)]
    {
        let model =
            Model::load(&root().join(format!("models/dcnn-{name}.safetensors"))).expect("model");
        let card = model.card();
        assert_eq!(model.graph().parameters(), parameters);
        assert!((card.pruning_ratio - ratio).abs() < 1e-12, "{}", card.pruning_ratio);
        assert_eq!(card.licence.as_deref(), Some("CC BY-NC-SA 4.0"));
        assert_eq!(card.data.len(), 9, "two tiles of pre-training and seven of training");
        assert_eq!(card.kept.is_empty(), name == "00");
        let scores = card.metrics.values().next().expect("scores");
        assert!(scores["pixels"]["accuracy"].as_f64().is_some_and(|a| a > 0.89), "{scores}");
        // It learned from tissue; procedural tissue is near enough to find its dark nuclei.
        let tile = phantom::tile(96, 96, 7);
        let map = segment(&model, &tile.image, SegmentOptions::default(), &Control::default())
            .expect("map");
        let mean = |inside: bool| {
            let of = map.data().iter().zip(tile.labels.data()).filter(|(_, l)| (**l > 0) == inside);
            let (sum, n) = of.fold((0.0, 0.0), |(s, n), (p, _)| (s + f64::from(*p), n + 1.0));
            sum / n
        };
        assert!(
            mean(true) > mean(false) + 0.2,
            "{name}: {} inside, {} outside",
            mean(true),
            mean(false)
        );
    }
}
