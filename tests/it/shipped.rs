//! The models in `models/`: they open, state what they are, segment, and are written back byte for
//! byte.

use prunella::dataset::phantom;
use prunella::engine::{Control, SegmentOptions, segment};
use prunella::model::{FileLimits, HistoryStep, Model, stored_precision};

use crate::support::root;

#[test]
fn every_model_of_the_paper_opens_states_its_licence_and_scores_and_segments() {
    for (name, ratio, parameters) in
        [("00", 0.0, 916_959), ("50", 0.5, 416_541), ("90", 0.9, 78_777)]
    {
        let model =
            Model::load(&root().join(format!("models/paper-{name}.safetensors"))).expect("model");
        let card = model.card();
        assert_eq!(model.graph().parameters(), parameters);
        assert!((card.pruning_ratio - ratio).abs() < 1e-12, "{}", card.pruning_ratio);
        assert_eq!(card.licence.as_deref(), Some("CC BY-NC-SA 4.0"));
        assert_eq!(card.data.len(), 9, "two tiles of pre-training and seven of training");
        assert_eq!(card.kept_filters.is_empty(), name == "00");
        let scores = card.metrics.values().next().expect("scores");
        assert!(scores["pixels"]["accuracy"].as_f64().is_some_and(|a| a > 0.89), "{scores}");
        // Trained on real tissue; the dark nuclei of procedural tissue are similar enough.
        let tile = phantom::tile(96, 96, 7);
        let map = segment(&model, &tile.image, SegmentOptions::default(), &Control::default())
            .expect("map");
        let mean = |in_nuclei: bool| {
            let mut sum = 0.0;
            let mut count = 0.0;
            for (&probability, &label) in map.nucleus().data().iter().zip(tile.labels.data()) {
                if (label > 0) == in_nuclei {
                    sum += f64::from(probability);
                    count += 1.0;
                }
            }
            sum / count
        };
        assert!(
            mean(true) > mean(false) + 0.2,
            "{name}: {} inside, {} outside",
            mean(true),
            mean(false)
        );
    }
}

#[test]
fn the_open_models_are_free_of_data_for_non_commercial_use_and_tell_the_border_apart() {
    for (name, parameters) in [("open-small", 9874), ("open-medium", 50_277)] {
        let file = root().join(format!("models/{name}.safetensors"));
        let model = Model::load(&file).expect("model");
        let card = model.card();
        assert_eq!(model.graph().parameters(), parameters, "{name}");
        let classes: Vec<&str> = card.classes.iter().map(|class| class.name.as_str()).collect();
        assert_eq!(classes, ["background", "nucleus", "border"], "{name}");
        assert_eq!(card.licence.as_deref(), Some("CC BY 4.0"), "{name}");
        assert_eq!(card.data_sources.len(), 2, "{name}");
        for source in &card.data_sources {
            assert_eq!(source.licence.as_deref(), Some("CC BY 4.0"), "{name}");
            assert!(source.citation.is_some(), "{name}");
        }
    }
}

#[test]
fn models_of_the_paper_are_written_back_byte_for_byte_and_their_history_is_understood() {
    for name in ["00", "50", "90", "90-all"] {
        let path = root().join(format!("models/paper-{name}.safetensors"));
        let bytes = std::fs::read(&path).expect("file");
        let model = Model::from_bytes(&bytes, FileLimits::default()).expect("model");
        let precision = stored_precision(&bytes).expect("precision");
        assert!(model.to_bytes(precision).expect("bytes") == bytes, "{name}");
        let history = &model.card().history;
        assert_eq!(history.first(), Some(&HistoryStep::Initialise { seed: 1 }), "{name}");
        assert!(history.iter().any(HistoryStep::is_training), "{name}");
        let pruned = history.iter().any(|step| matches!(step, HistoryStep::Prune { .. }));
        assert_eq!(pruned, name != "00", "{name}");
        // Which made it smaller compressed.
        let is_rounded = history.contains(&HistoryStep::Round { significant_bits: 5 });
        assert_eq!(is_rounded, name == "50", "{name}");
        let unknown = history.iter().any(|step| matches!(step, HistoryStep::Other { .. }));
        assert!(!unknown, "{name}: {history:?}");
    }
}
