//! What was found in a folder, for people.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::PathBuf;

/// What a search of a folder found and what it left out.
///
/// As text: `160 pictures in 2 classes; left out: 3 .txt, 1 .gif, 2 hidden; no pictures in 1 class: fox`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files with pictures.
    pub pictures: usize,
    /// Folders of classes.
    pub classes: usize,
    /// How many files of other kinds were left out, by their ending in lower case, `.txt` for instance; it is empty
    /// for files without one.
    pub others: BTreeMap<String, usize>,
    /// Files and folders that were left out because their names begin with a dot.
    pub hidden: usize,
    /// The classes without pictures, in order.
    pub empty: Vec<String>,
    /// The file in which the names are kept; none if they were changed a moment ago, or no place can be written.
    pub index: Option<PathBuf>,
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pictures in {} classes", self.pictures, self.classes)?;
        let ending = |(ending, count): (&String, &usize)| match ending.as_str() {
            "" => format!("{count} without an ending"),
            ending => format!("{count} {ending}"),
        };
        let mut left_out: Vec<String> = self.others.iter().map(ending).collect();
        if self.hidden > 0 {
            left_out.push(format!("{} hidden", self.hidden));
        }
        if !left_out.is_empty() {
            write!(f, "; left out: {}", left_out.join(", "))?;
        }
        match self.empty.len() {
            0 => Ok(()),
            1 => write!(f, "; no pictures in 1 class: {}", self.empty[0]),
            n => write!(f, "; no pictures in {n} classes: {}", few(&self.empty)),
        }
    }
}

/// The first three of a list.
pub(super) fn few(names: &[String]) -> String {
    let first = names[..names.len().min(3)].join(", ");
    if names.len() > 3 { format!("{first}, …") } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_there_is_to_say_and_nothing_else() {
        let plain = Found { pictures: 160, classes: 2, ..Found::default() };
        assert_eq!(plain.to_string(), "160 pictures in 2 classes");
        let others = BTreeMap::from([(String::new(), 1), (".gif".to_owned(), 3)]);
        let more = Found { others, hidden: 2, empty: vec!["fox".into()], ..plain.clone() };
        assert_eq!(
            more.to_string(),
            "160 pictures in 2 classes; left out: 1 without an ending, 3 .gif, 2 hidden; no pictures in 1 class: fox"
        );
        let empty = ["a", "b", "c", "d"].map(String::from).to_vec();
        let many = Found { empty, ..plain }.to_string();
        assert!(many.ends_with("no pictures in 4 classes: a, b, c, …"), "{many}");
    }
}
