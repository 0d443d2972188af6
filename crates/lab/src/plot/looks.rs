//! Which colour, dashes and mark a series has.

/// Colours that people with any colour vision tell apart (Okabe and Ito, without the yellow).
pub const COLOURS: [(u8, u8, u8); 7] = [
    (0, 0, 0),       // black
    (0, 114, 178),   // blue
    (213, 94, 0),    // vermilion
    (0, 158, 115),   // green
    (204, 121, 167), // purple
    (230, 159, 0),   // orange
    (86, 180, 233),  // sky blue
];

/// Dashes as lengths of a dash and of the gap after it, in pixels; a gap of 0 is a solid line.
pub const DASHES: [(u32, u32); 5] = [(1, 0), (8, 4), (17, 5), (2, 3), (4, 9)];

/// How many kinds of marks there are.
pub const MARKS: usize = 10;

/// The colours and dashes of rules, so that a rule looks the same in every figure. With and without normalisation,
/// rules on the same sample have the same colour or a similar one.
const KNOWN: [(&str, usize, usize); 9] = [
    ("SGD", 0, 0),
    ("SAM", 1, 0),
    ("USAM", 6, 1),
    ("m-SAM", 2, 1),
    ("m-USAM", 5, 2),
    ("RW-SAM", 3, 2),
    ("RW-USAM", 3, 3),
    ("n-SAM", 4, 3),
    ("n-USAM", 4, 2),
];

/// In which order other series take colours.
const ORDER: [usize; 7] = [1, 2, 3, 4, 5, 6, 0];

/// What a series looks like: indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Of [`COLOURS`].
    pub colour: usize,
    /// Of [`DASHES`].
    pub dash: usize,
    /// Less than [`MARKS`].
    pub mark: usize,
}

/// The name up to its details: `m-SAM` of `m-SAM (m = 16)` and of `m-SAM, algorithm`.
fn family(name: &str) -> &str {
    let end = [" (", ",", " ·"].iter().filter_map(|mark| name.find(mark)).min();
    name[..end.unwrap_or(name.len())].trim()
}

/// The looks of series by their names. Equal names look the same, and others differ in colour or dashes.
pub fn looks(names: &[&str]) -> Vec<Look> {
    let mut taken: Vec<(&str, Look)> = Vec::new();
    let known = |name: &str| KNOWN.iter().find(|known| known.0 == family(name));
    let owned: Vec<usize> = names.iter().filter_map(|name| known(name)).map(|known| known.1).collect();
    // Known ones first, for their colours are not free.
    for wants_known in [true, false] {
        for name in names.iter().copied().filter(|name| known(name).is_some() == wants_known) {
            if taken.iter().all(|(other, _)| *other != name) {
                let (colour, dash) = free(name, known(name).map(|known| (known.1, known.2)), &owned, &taken);
                let mark = taken.len() % MARKS;
                taken.push((name, Look { colour, dash, mark }));
            }
        }
    }
    let look = |name: &&str| taken.iter().find(|(other, _)| other == name).map(|(_, look)| *look);
    names.iter().map(|name| look(name).unwrap_or(Look { colour: 0, dash: 0, mark: 0 })).collect()
}

/// The colour and dashes of the next series: those of its rule if it is the first with them, the colour of its family
/// if it is the second of it, and otherwise the colour and the dashes that are used least, of colours that no rule of
/// the figure has for its own if there is one.
fn free(name: &str, wanted: Option<(usize, usize)>, owned: &[usize], taken: &[(&str, Look)]) -> (usize, usize) {
    let uses = |fits: &dyn Fn(Look) -> bool| taken.iter().filter(|(_, look)| fits(*look)).count();
    let is_free = |colour, dash| uses(&|look| (look.colour, look.dash) == (colour, dash)) == 0;
    let dash = |colour| {
        let least = |dash: &usize| (!is_free(colour, *dash), uses(&|look| look.dash == *dash));
        (0..DASHES.len()).min_by_key(least).unwrap_or(0)
    };
    let kin: Vec<Look> = taken.iter().filter(|(other, _)| family(other) == family(name)).map(|other| other.1).collect();
    if let (Some((colour, dash)), []) = (wanted, &kin[..])
        && is_free(colour, dash)
    {
        return (colour, dash);
    }
    let own = wanted.map(|wanted| wanted.0).filter(|_| kin.is_empty());
    let second = (kin.len() == 1).then(|| kin[0].colour);
    let has_room = |colour: &usize| (0..DASHES.len()).any(|dash| is_free(*colour, dash));
    let cost = |colour: &usize| (!has_room(colour), owned.contains(colour), uses(&|look| look.colour == *colour));
    let least = || ORDER.into_iter().min_by_key(cost).unwrap_or(0);
    let colour = own.or(second).filter(has_room).unwrap_or_else(least);
    (colour, dash(colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(names: &[&str]) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> = looks(names).iter().map(|look| (look.colour, look.dash)).collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn all_series_differ_in_colour_or_dashes() {
        let curves =
            ["SGD", "n-SAM", "SAM", "m-SAM (m = 16)", "m-SAM (m = 4)", "RW-SAM (m_eff = 16)", "RW-SAM (m_eff = 4)"];
        let runs: Vec<String> = (0..30).map(|k| format!("m-SAM (m = {k})")).collect();
        let others: Vec<String> = (0..10).map(|k| format!("series {k}")).collect();
        let algorithms = KNOWN.map(|known| known.0);
        let halves: Vec<String> =
            algorithms.iter().flat_map(|name| [name.to_string(), format!("{name}, without replacement")]).collect();
        let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let halves: Vec<&str> = halves.iter().map(String::as_str).collect();
        for names in [&curves[..], &runs, &others, &algorithms, &halves] {
            let mut pairs = pairs(names);
            pairs.dedup();
            assert_eq!(pairs.len(), names.len());
        }
        let mut marks: Vec<usize> = looks(&others).iter().map(|look| look.mark).collect();
        marks.dedup();
        assert_eq!(marks.len(), 10);
        assert_eq!(looks(&vec!["x"; 99]).len(), 99);
        assert_eq!(looks(&(0..99).map(|_| "").collect::<Vec<_>>()).len(), 99);
    }

    #[test]
    fn a_rule_has_the_same_colour_in_every_figure() {
        let colour = |names: &[&str], k: usize| COLOURS[looks(names)[k].colour];
        assert_eq!(looks(&["a", "SGD"])[1], Look { colour: 0, dash: 0, mark: 0 });
        assert_eq!(colour(&["a", "b", "m-SAM (m = 4)"], 2), colour(&["m-SAM"], 0));
        assert_eq!(colour(&["RW-SAM, one probe"], 0), colour(&["a", "SAM", "RW-SAM (λ = 2)"], 2));
        // A third of its kind does not take the colour of another rule.
        let rules = ["SGD", "SAM", "m-SAM (m = 16)", "m-SAM (m = 4)", "m-SAM (m = 1)", "RW-SAM (m_eff = 16)"];
        assert!([0, 1, 3].iter().all(|known| looks(&rules)[4].colour != *known));
        // Others do not take a colour that a rule has.
        let names = ["exact norms", "exact norms, shuffled", "SAM"];
        let looks = looks(&names);
        assert_eq!((looks[0].colour, looks[1].colour, looks[2].colour), (2, 2, 1));
        assert_ne!(looks[0].dash, looks[1].dash);
    }

    #[test]
    fn equal_names_look_the_same() {
        let looks = looks(&["SAM", "x", "SAM", "x"]);
        assert_eq!((looks[0], looks[1]), (looks[2], looks[3]));
    }
}
