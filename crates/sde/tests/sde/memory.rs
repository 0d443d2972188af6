//! What would not fit in memory is refused, with its size and what to do instead.

use crate::refusals::{Flat, Plain, text};
use msharp_sde::problems::Quadratic;
use msharp_sde::{Algorithm, Descent, EulerMaruyama, Generator, Modified, NoiseType, Order, StepMoments, WeakOrder2};

/// Moments grow as d⁴: 300 dimensions would take a hundred GiB, and take no time to refuse.
#[test]
fn moments_in_many_dimensions_are_refused_with_their_size() {
    let sde = |d| Plain { d, noise: NoiseType::Diagonal };
    let found = [text(Generator::new(&sde(300))), text(StepMoments::new(&Flat(2, 300), Algorithm::sgd(1), 0.1))];
    for found in found {
        assert!(found.contains("300 dimensions") && found.contains("GiB") && found.contains("Ensemble"), "{found}");
    }
    assert!(text(Generator::new(&sde(usize::MAX))).contains("GiB"));
    let steps = StepMoments::new(&Quadratic::random(4, 2, 7), Algorithm::sgd(1), 0.1).unwrap();
    assert!(text(steps.generator(usize::MAX)).contains("GiB"));
    // The largest that any test or experiment uses is 3, and 20 are no question.
    let moments = Generator::new(&sde(20)).unwrap().at(1., &[1.; 20]);
    assert!(moments.mean.iter().all(|mean| (mean - (-1f64).exp()).abs() < 1e-13));
}

#[test]
fn steps_in_many_dimensions_are_refused_with_their_size() {
    let general = |d| Plain { d, noise: NoiseType::General(d) };
    for found in [text(EulerMaruyama::new(general(100_000), 0.1)), text(WeakOrder2::new(general(100_000), 0.1))] {
        assert!(found.contains("100000 dimensions") && found.contains("GiB") && found.contains("diagonal"), "{found}");
    }
    assert!(EulerMaruyama::new(general(1000), 0.1).is_ok());
    assert!(EulerMaruyama::new(Plain { d: 1_000_000, noise: NoiseType::Diagonal }, 0.1).is_ok());
    let found = text(Modified::new(&Flat(100, 1_000_000), Algorithm::sgd(2), 0.1, Order::PAPER));
    assert!(found.contains("5050 micro-batches in 1000000 dimensions") && found.contains("paths"), "{found}");
    let found = text(Descent::new(&Flat(2, 1_000_000), Algorithm::sgd(1_000_000_000), 0.1));
    assert!(found.contains("micro-batches of 1000000000") && found.contains("GiB"), "{found}");
}
