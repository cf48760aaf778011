//! The licence of weights that were trained on several data sets: the conditions of all of them.

/// Conditions of a Creative Commons licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
struct Conditions {
    attribution: bool,
    non_commercial: bool,
    share_alike: bool,
    no_derivatives: bool,
}

impl Conditions {
    /// Those of a licence by its name, such as `CC BY-NC-SA 4.0`, `cc-by-4.0` or `CC0`; none for
    /// other licences.
    fn of(licence: &str) -> Option<Self> {
        let name = licence.to_ascii_uppercase();
        let mut words = name.split(|c: char| c.is_whitespace() || c == '-' || c == '_');
        let mut conditions = Self::default();
        match words.next()? {
            "CC0" => {}
            "CC" => conditions.attribution = true,
            _ => return None,
        }
        let mut has_attribution = !conditions.attribution;
        for word in words {
            match word {
                "BY" => has_attribution = true,
                "NC" => conditions.non_commercial = true,
                "SA" => conditions.share_alike = true,
                "ND" => conditions.no_derivatives = true,
                _ if word.starts_with(|c: char| c.is_ascii_digit()) => {}
                // Longer texts may state other conditions.
                _ => return None,
            }
        }
        has_attribution.then_some(conditions)
    }

    fn with(self, other: Self) -> Self {
        Self {
            attribution: self.attribution || other.attribution,
            non_commercial: self.non_commercial || other.non_commercial,
            share_alike: self.share_alike || other.share_alike,
            no_derivatives: self.no_derivatives || other.no_derivatives,
        }
    }

    fn name(self) -> String {
        if !self.attribution {
            return "CC0 1.0".to_owned();
        }
        let mut name = "CC BY".to_owned();
        for (applies, word) in
            [(self.non_commercial, "-NC"), (self.share_alike, "-SA"), (self.no_derivatives, "-ND")]
        {
            if applies {
                name += word;
            }
        }
        name + " 4.0"
    }
}

/// One licence that demands what all of some licences demand: of Creative Commons licences the
/// strictest, or one with the conditions of all. Other licences follow it, each once. None for no
/// licences.
#[must_use]
pub fn combined_licence(licences: &[impl AsRef<str>]) -> Option<String> {
    if let [licence] = licences {
        return Some(licence.as_ref().to_owned());
    }
    let mut all = None;
    let mut others: Vec<&str> = Vec::new();
    for licence in licences {
        // A former result of this function names several.
        for part in licence.as_ref().split(';').map(str::trim).filter(|part| !part.is_empty()) {
            match Conditions::of(part) {
                Some(conditions) => {
                    all =
                        Some(all.map_or(conditions, |before: Conditions| before.with(conditions)));
                }
                None if !others.contains(&part) => others.push(part),
                None => {}
            }
        }
    }
    let mut names = Vec::new();
    if let Some(conditions) = all {
        let mut name = conditions.name();
        // The strictest one as it is written, where there is such a one.
        for licence in licences {
            if Conditions::of(licence.as_ref()) == Some(conditions) {
                licence.as_ref().clone_into(&mut name);
                break;
            }
        }
        names.push(name);
    }
    names.extend(others.into_iter().map(str::to_owned));
    (!names.is_empty()).then(|| names.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_licence_wins_and_unknown_ones_are_listed() {
        let cases: [(&[&str], &str); 9] = [
            (&["CC BY 4.0"], "CC BY 4.0"),
            (&["CC BY 4.0", "CC BY-NC-SA 4.0", "CC0"], "CC BY-NC-SA 4.0"),
            (&["CC BY-NC-SA 3.0", "cc-by-4.0"], "CC BY-NC-SA 3.0"),
            (&["CC BY-SA 4.0", "CC BY-NC 4.0"], "CC BY-NC-SA 4.0"),
            (&["CC0", "CC0 1.0"], "CC0"),
            (&["MIT", "CC BY 4.0", "MIT"], "CC BY 4.0; MIT"),
            (&["CC BY 4.0; MIT", "CC BY-NC 4.0"], "CC BY-NC 4.0; MIT"),
            (&["by permission of the clinic"], "by permission of the clinic"),
            (&["CC BY 4.0 but only on Sundays"], "CC BY 4.0 but only on Sundays"),
        ];
        for (licences, expected) in cases {
            assert_eq!(combined_licence(licences).as_deref(), Some(expected), "{licences:?}");
        }
        assert_eq!(combined_licence(&[] as &[&str]), None);
    }
}
