//! Results of the program as a reference for refactoring: `make` writes them into a folder, and
//! `compare` compares two such folders byte for byte.
//!
//! Both runs belong on one machine: instruction sets and the number of threads decide rounding
//! and device names. `PRUNELLA_DATA` (default `../shared/data`) names the data; steps whose data
//! is absent are skipped and recorded as such.

mod compare;
mod json;
mod make;
mod model;
mod record;
mod steps;

use std::path::Path;

use crate::run::Result;

const USAGE: &str = "usage: cargo xtask outputs make PROGRAM FOLDER
       cargo xtask outputs compare FOLDER FOLDER [--tolerance 1e-6] [--except NAME]...";

/// `make` or `compare` with their arguments.
///
/// # Errors
/// A step that failed, a difference, or arguments that cannot be understood.
pub fn outputs(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", program, folder] => make::make(Path::new(program), Path::new(folder)),
        ["compare", left, right, options @ ..] => {
            let options = compare_options(options)?;
            let comparison = compare::compare(Path::new(left), Path::new(right), &options)?;
            println!("{comparison}");
            let differences = comparison.differences();
            if differences == 0 { Ok(()) } else { Err(format!("{differences} differences")) }
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn compare_options(words: &[&str]) -> Result<compare::Options> {
    let mut options = compare::Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match *word {
            "--tolerance" => {
                let tolerance: f32 = value.parse().map_err(|_| format!("no number: {value}"))?;
                if !(tolerance.is_finite() && tolerance >= 0.0) {
                    return Err(format!("the tolerance must be 0 or more, not {value}"));
                }
                options.tolerance = tolerance;
            }
            "--except" => options.except.push((*value).to_owned()),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let options =
            compare_options(&["--tolerance", "1e-6", "--except", "study"]).expect("valid");
        assert_eq!(options, compare::Options { tolerance: 1e-6, except: vec!["study".to_owned()] });
        for wrong in
            [&["--tolerance"][..], &["--tolerance", "-1"], &["--tolerance", "NaN"], &["--x", "1"]]
        {
            assert!(compare_options(wrong).is_err(), "{wrong:?}");
        }
        assert!(outputs(&["make".to_owned()]).is_err(), "arguments are missing");
    }
}
