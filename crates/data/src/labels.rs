//! Draws that depend on labels alone: class-balanced subsets, and wrong labels.

use crate::Error;
use candle_core::Result;
use msharp_core::Key;
use rand::RngExt;
use rand::seq::SliceRandom;

/// The numbers below `n` in an order that is a pure function of `key`.
pub(crate) fn order(n: usize, key: Key) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut key.rng());
    order
}

/// The error for the label of image `index` of the set `name`, which is not below the number of classes.
pub(crate) fn unknown_label(name: &str, index: usize, label: u32, classes: usize) -> Error {
    Error::UnknownLabel { which: format!("{name}: image {index} has label"), label: label.into(), classes }
}

/// The indices of [`Dataset::hold_out`](crate::Dataset::hold_out) in ascending order: what is left, and what is held
/// out.
pub(crate) fn held_out(name: &str, labels: &[u32], classes: usize, n: usize, seed: u64) -> Result<[Vec<usize>; 2]> {
    let by_class = by_class(name, labels, classes, Key::new(seed).fold_name("hold out"))?;
    let most: usize = by_class.iter().map(|class| class.len().saturating_sub(1)).sum();
    if n == 0 || n > most {
        let text = format!(
            "hold out: {n} images of {name} were asked for, expected 1 to {most}, with which an image of each class is left"
        );
        return Err(Error::InvalidArgument(text).into());
    }
    // The share of each class, rounded down; then one more of those that are furthest below theirs.
    let share = |class: &Vec<usize>| n as f64 * class.len() as f64 / labels.len() as f64;
    let mut taken: Vec<usize> =
        by_class.iter().map(|class| (share(class) as usize).min(class.len().saturating_sub(1))).collect();
    while taken.iter().sum::<usize>() < n {
        let free = (0..classes).filter(|class| taken[*class] + 1 < by_class[*class].len());
        let lacks = |class: usize| share(&by_class[class]) - taken[class] as f64;
        let next = free.max_by(|a, b| lacks(*a).total_cmp(&lacks(*b))).expect("n is at most what can be taken");
        taken[next] += 1;
    }
    let mut held: Vec<usize> =
        by_class.iter().zip(&taken).flat_map(|(class, taken)| &class[..*taken]).copied().collect();
    held.sort_unstable();
    let rest = (0..labels.len()).filter(|index| held.binary_search(index).is_err()).collect();
    Ok([rest, held])
}

/// The indices of [`Dataset::subset`](crate::Dataset::subset), in ascending order.
pub(crate) fn subset(name: &str, labels: &[u32], classes: usize, n: usize, seed: u64) -> Result<Vec<usize>> {
    let len = labels.len();
    if n == 0 || n > len {
        let text = format!("subset: {n} images of {name} were asked for, expected 1 to {len}");
        return Err(Error::InvalidArgument(text).into());
    }
    let key = Key::new(seed).fold_name("subset");
    let mut by_class = by_class(name, labels, classes, key)?;
    by_class.shuffle(&mut key.rng()); // so that the remainder does not always favour the first classes
    let rounds = by_class.iter().map(Vec::len).max().unwrap_or(0);
    let turns = (0..rounds).flat_map(|turn| by_class.iter().filter_map(move |class| class.get(turn)));
    let mut chosen: Vec<usize> = turns.take(n).copied().collect();
    chosen.sort_unstable();
    Ok(chosen)
}

/// The indices of the images of each class, in an order that is a pure function of `key`.
fn by_class(name: &str, labels: &[u32], classes: usize, key: Key) -> Result<Vec<Vec<usize>>> {
    let mut by_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        match by_class.get_mut(label as usize) {
            Some(class) => class.push(index),
            None => return Err(unknown_label(name, index, label, classes).into()),
        }
    }
    for (class, indices) in by_class.iter_mut().enumerate() {
        indices.shuffle(&mut key.fold(class as u64).rng());
    }
    Ok(by_class)
}

/// Makes labels wrong, as [`Dataset::with_label_noise`](crate::Dataset::with_label_noise) says.
pub(crate) fn spoil(name: &str, labels: &mut [u32], classes: usize, fraction: f64, seed: u64) -> Result<()> {
    if !(0. ..=1.).contains(&fraction) {
        let text = format!("label noise: the fraction is {fraction}, expected 0 to 1");
        return Err(Error::InvalidArgument(text).into());
    }
    let spoilt = (fraction * labels.len() as f64).round() as usize;
    if spoilt > 0 && classes < 2 {
        let text = format!("label noise: {name} has {classes} class, expected at least 2");
        return Err(Error::InvalidArgument(text).into());
    }
    let key = Key::new(seed).fold_name("label noise");
    let classes = classes as u32;
    for &index in &order(labels.len(), key)[..spoilt] {
        let shift = key.fold(index as u64).rng().random_range(1..classes);
        labels[index] = (labels[index] + shift) % classes;
    }
    Ok(())
}
