//! The comparison of numbers: reports the worst value, its index, and how many exceed each
//! tolerance.

/// Tolerances of the report.
const SWEEP: [f64; 6] = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2];

/// Checks `|got − want| ≤ absolute + relative · |want|` everywhere.
pub fn close(got: &[f32], want: &[f32], absolute: f64, relative: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} values against {}", got.len(), want.len()));
    }
    // What the relative tolerance leaves of each difference.
    let mut errors = Vec::new();
    for (&got, &want) in got.iter().zip(want) {
        let difference = (f64::from(got) - f64::from(want)).abs();
        let error = difference - relative * f64::from(want).abs();
        errors.push(if error.is_nan() { f64::INFINITY } else { error });
    }
    let worst = (0..errors.len()).max_by(|&a, &b| errors[a].total_cmp(&errors[b]));
    let Some(worst) = worst else { return Ok(()) };
    if errors[worst] <= absolute {
        return Ok(());
    }
    let mut report =
        format!("worst at {worst}: {} against {}; of {}:", got[worst], want[worst], got.len());
    for tolerance in SWEEP {
        let exceeding = errors.iter().filter(|error| **error > tolerance).count();
        report += &format!(" {exceeding} over {tolerance:.0e}");
    }
    Err(report)
}

#[test]
fn wrong_values_wrong_lengths_and_nan_are_reported() {
    assert!(close(&[1.0, 2.0], &[1.0, 2.0], 0.0, 0.0).is_ok());
    assert!(close(&[1.0, 2.1], &[1.0, 2.0], 0.0, 0.06).is_ok());
    let report = close(&[1.0, 2.1], &[1.0, 2.0], 1e-3, 0.0).expect_err("wrong value");
    assert!(report.contains("worst at 1"), "{report}");
    assert!(report.contains("1 over 1e-2"), "{report}");
    assert!(close(&[1.0], &[1.0, 2.0], 1.0, 0.0).is_err());
    assert!(close(&[f32::NAN], &[1.0], 1.0, 0.0).is_err());
}
