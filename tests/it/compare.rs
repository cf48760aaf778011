//! The comparer of numbers: says the worst value, where it is, and how many fail at each tolerance.

/// Checks `|got − want| ≤ absolute + relative · |want|` everywhere.
pub fn close(got: &[f32], want: &[f32], absolute: f64, relative: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} values against {}", got.len(), want.len()));
    }
    let error = |(&g, &w): (&f32, &f32)| {
        let excess = (f64::from(g) - f64::from(w)).abs() - relative * f64::from(w).abs();
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let errors: Vec<f64> = got.iter().zip(want).map(error).collect();
    let worst = (0..errors.len()).max_by(|&a, &b| errors[a].total_cmp(&errors[b]));
    match worst {
        Some(at) if errors[at] > absolute => {
            let sweep: Vec<String> = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
                .iter()
                .map(|t| format!("{} over {t:.0e}", errors.iter().filter(|e| *e > t).count()))
                .collect();
            Err(format!(
                "worst at {at}: {} against {}; of {}: {}",
                got[at],
                want[at],
                got.len(),
                sweep.join(", ")
            ))
        }
        _ => Ok(()),
    }
}

#[test]
fn the_comparer_fails_on_a_wrong_value_a_wrong_length_and_on_nan() {
    assert!(close(&[1.0, 2.0], &[1.0, 2.0], 0.0, 0.0).is_ok());
    let said = close(&[1.0, 2.1], &[1.0, 2.0], 1e-3, 0.0).expect_err("wrong value");
    assert!(said.contains("worst at 1"), "{said}");
    assert!(close(&[1.0], &[1.0, 2.0], 1.0, 0.0).is_err());
    assert!(close(&[f32::NAN], &[1.0], 1.0, 0.0).is_err());
}
