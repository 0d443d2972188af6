//! Expectations on a grid: against exact moments where there are some, and the orders of the equations where there are
//! none.

use msharp_sde::problems::{Logistic, Quadratic};
use msharp_sde::{Algorithm, EquationOperator, Expansion, Generator, Grid, Modified, Order, StepMoments, StepOperator};

const START: [f64; 2] = [1., -1.5];

#[test]
fn quadratics_have_their_exact_moments() {
    let problem = Quadratic::random(4, 2, 7);
    let grid = Grid::new(&[(-2., 2.), (-2., 2.)], 4).unwrap();
    for algorithm in [Algorithm::usam(0.2, 2), Algorithm::m_usam(0.2, 1, 2).without_replacement()] {
        let chain = StepMoments::new(&problem, algorithm, 0.1).unwrap().after(20, &START);
        let operator = StepOperator::new(&problem, algorithm, 0.1, &grid).unwrap();
        let equation = Modified::new(&problem, algorithm, 0.1, Order::BEST).unwrap();
        let flow = EquationOperator::new(&equation, &grid).unwrap().over(2.);
        let exact = Generator::new(&equation).unwrap().at(2., &START);
        for (j, k) in [(0, 0), (0, 1), (1, 1)] {
            let found = operator.after(20, &START, |x| x[j] * x[k]);
            assert!((found - chain.second[2 * j + k]).abs() < 1e-11, "{found} for {}", chain.second[2 * j + k]);
            let found = flow.expect(&START, |x| x[j] * x[k]);
            assert!((found - exact.second[2 * j + k]).abs() < 1e-9, "{found} for {}", exact.second[2 * j + k]);
        }
    }
}

fn algorithms(rho: f64) -> Vec<Algorithm> {
    let usam = [
        Algorithm::n_usam(rho, 2),
        Algorithm::usam(rho, 2),
        Algorithm::m_usam(rho, 1, 2),
        Algorithm::rw_usam(rho, 2., 2),
    ];
    let sam =
        [Algorithm::n_sam(rho, 2), Algorithm::sam(rho, 2), Algorithm::m_sam(rho, 1, 2), Algorithm::rw_sam(rho, 2., 2)];
    [Algorithm::sgd(2)].into_iter().chain(usam).chain(sam).collect()
}

/// Logistic regression far from its minimum, where no gradient vanishes: the published, normalised rules included.
fn setting() -> (Logistic, Grid, [f64; 2], f64) {
    let problem = Logistic { features: vec![0.9, 0.5, 0.3, -0.6, 1.2, 0.1, 0.6, 0.8], penalty: 0.5, dim: 2 };
    (problem, Grid::new(&[(-3.5, -0.8), (1., 3.)], 12).unwrap(), [-3., 2.5], 1.)
}

fn errors(algorithm: Algorithm, eta: f64, order: Order) -> f64 {
    let (problem, grid, start, time) = setting();
    let chain = StepOperator::new(&problem, algorithm, eta, &grid).unwrap();
    let equation = Modified::new(&problem, algorithm, eta, order).unwrap();
    let flow = EquationOperator::new(&equation, &grid).unwrap().over(time);
    let steps = (time / eta).round() as usize;
    let of = |g: fn(&[f64]) -> f64| (chain.after(steps, &start, g) - flow.expect(&start, g)).abs();
    of(|x| x[0]).max(of(|x| x[1])).max(of(|x| x[0] * x[1])).max(of(|x| x[0].sin()))
}

#[test]
fn every_algorithm_has_its_order_in_eta() {
    for algorithm in algorithms(0.2) {
        for eta in [1, 2] {
            let of = |rate: f64| errors(algorithm, rate, Order { eta, rho: Expansion::Exact });
            let slope = (of(0.1) / of(0.05)).log2();
            assert!((slope - eta as f64).abs() < 0.12, "{} order {eta}: slope {slope}", algorithm.name());
        }
    }
}
