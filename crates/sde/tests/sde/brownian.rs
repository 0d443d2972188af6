//! The statistics of the increments.

use msharp_sde::{LANES, Lanes, Streams, brownian, stream};

/// Normal numbers of neighbouring paths, [step][component][lane], as an ensemble draws them.
fn numbers(steps: usize) -> Vec<[Lanes; 3]> {
    let mut streams = Streams::new(11, 0, LANES);
    let mut draw = || {
        let mut to = [[0.; LANES]; 3];
        brownian::gaussian(&mut streams, 1., &mut to);
        to
    };
    (0..steps).map(|_| draw()).collect()
}

#[test]
fn four_moments_are_those_of_the_normal_law() {
    let all: Vec<f64> = numbers(60_000).iter().flatten().flatten().copied().collect();
    // E x^p and E x^2p of a standard normal number
    for (power, mean, square) in
        [(1, 0., 1.), (2, 1., 3.), (3, 0., 15.), (4, 3., 105.), (5, 0., 945.), (6, 15., 10395.)]
    {
        let found = all.iter().map(|x| x.powi(power)).sum::<f64>() / all.len() as f64;
        let z = (found - mean) / ((square - mean * mean) / all.len() as f64).sqrt();
        assert!(z.abs() < 4., "moment {power}: {found} for {mean}, {z:.2} standard errors");
    }
}

#[test]
fn the_distribution_is_the_normal_one_to_the_tails() {
    let mut all: Vec<f64> = numbers(100_000).iter().flatten().flatten().copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let n = all.len() as f64;
    let mut distance = 0f64;
    for (i, x) in all.iter().enumerate() {
        let below = distribution(*x);
        distance = distance.max((below - i as f64 / n).abs()).max(((i + 1) as f64 / n - below).abs());
    }
    assert!(
        distance * n.sqrt() < 1.95,
        "Kolmogorov–Smirnov: {}, of which 1.95 is exceeded once in 1000",
        distance * n.sqrt()
    );
    for beyond in [3., 4., 4.5] {
        let expected = 2. * n * distribution(-beyond);
        let found = all.iter().filter(|x| x.abs() > beyond).count() as f64;
        assert!(
            (found - expected).abs() < 4. * expected.sqrt(),
            "{found} numbers beyond {beyond}, expected {expected:.1}"
        );
    }
}

/// Φ(x) by its series, and by its continued fraction in the tails; good to 10⁻¹².
fn distribution(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2. * std::f64::consts::PI).sqrt();
    if x.abs() < 3. {
        let (mut term, mut sum) = (x, x);
        for k in 1..60 {
            term *= x * x / f64::from(2 * k + 1);
            sum += term;
        }
        0.5 + density * sum
    } else {
        let fraction = (1..60).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / below);
        if x > 0. { 1. - density / fraction } else { density / fraction }
    }
}

/// Hands pairs of numbers on.
type Pairs<'a> = &'a dyn Fn(&mut dyn FnMut(f64, f64));

#[test]
fn steps_components_and_neighbouring_paths_are_uncorrelated() {
    let all = numbers(100_000);
    let n = (all.len() * LANES) as f64;
    // products of unit variance, of numbers and of their squares: their sums are N(0, n)
    let check = |what: &str, pairs: Pairs| {
        let (mut plain, mut squares) = (0., 0.);
        pairs(&mut |a, b| {
            plain += a * b;
            squares += (a * a - 1.) * (b * b - 1.) / 2.;
        });
        for (of, sum) in [("numbers", plain), ("squares", squares)] {
            assert!((sum / n.sqrt()).abs() < 4., "{what}: {of} correlate, {:.2} standard errors", sum / n.sqrt());
        }
    };
    for apart in 1..3 {
        check("steps", &|pair| {
            all.iter().zip(&all[apart..]).for_each(|(a, b)| (0..LANES).for_each(|lane| pair(a[0][lane], b[0][lane])));
        });
        check("paths", &|pair| {
            all.iter().for_each(|a| (0..LANES).for_each(|lane| pair(a[0][lane], a[0][(lane + apart) % LANES])));
        });
        check("components", &|pair| {
            all.iter().for_each(|a| (0..LANES).for_each(|lane| pair(a[0][lane], a[apart][lane])));
        });
    }
    // the first numbers of neighbouring paths and of neighbouring seeds
    let first = |seed: u64, path: u64| {
        let mut to = [0.; 1];
        brownian::gaussian(&mut stream(seed, path), 1., &mut to);
        to[0]
    };
    check("first steps of paths", &|pair| (0..n as u64).for_each(|path| pair(first(0, path), first(0, path + 1))));
    check("first steps of seeds", &|pair| (0..n as u64).for_each(|path| pair(first(path, 0), first(path + 1, 0))));
}

#[test]
fn an_increment_has_the_variance_of_its_step_and_lanes_are_their_streams() {
    let (mut alone, mut together) = ([0.; 5], [[0.; LANES]; 5]);
    let mut streams = Streams::new(3, 70, LANES);
    brownian::gaussian(&mut streams, 0.25, &mut together);
    for lane in 0..LANES {
        brownian::gaussian(&mut stream(3, 70 + lane as u64), 1., &mut alone);
        assert_eq!(alone.map(|x| 0.5 * x), together.map(|lanes| lanes[lane]));
    }
}

#[test]
fn discrete_increments_take_their_values_as_often_as_they_should() {
    let (mut stream, n, dt) = (stream(5, 0), 300_000, 0.04);
    let mut counts = [[0u32; 2]; 3];
    for _ in 0..n {
        let (mut increment, mut sign) = ([0.; 1], [0.; 1]);
        brownian::discrete(&mut stream, dt, &mut increment, &mut sign);
        let far = (3f64 * dt).sqrt();
        let which = [-far, 0., far].iter().position(|value| *value == increment[0]).expect("one of three values");
        assert!(sign[0] == 0.2 || sign[0] == -0.2);
        counts[which][usize::from(sign[0] > 0.)] += 1;
    }
    for (row, p) in counts.iter().zip([1. / 6., 2. / 3., 1. / 6.]) {
        for count in row {
            let (expected, p) = (f64::from(n) * p / 2., p / 2.);
            let z = (f64::from(*count) - expected) / (expected * (1. - p)).sqrt();
            assert!(z.abs() < 4., "{counts:?}");
        }
    }
}
