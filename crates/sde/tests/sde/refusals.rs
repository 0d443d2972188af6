//! Numbers that no formula allows are refused, by name.

use msharp_sde::problems::Quadratic;
use msharp_sde::theorems::{expected_norm, noise_trace, potential, usam_diffusion, usam_drift};
use msharp_sde::{
    Algorithm, AscentGradient, Descent, Ensemble, EquationOperator, Error, EulerMaruyama, Expansion, Generator, Grid,
    Milstein, Modified, NoiseType, Normalisation, Order, Problem, Sampling, Sde, StepMoments, StepOperator, WeakOrder2,
    at, brownian, mean_exit_time, mean_gradient, mean_hessian, mean_loss, silent, stream,
};
use std::panic::{UnwindSafe, catch_unwind};

/// What an error says.
pub fn text<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().to_string()
}

/// What a panic says.
fn panics<T>(work: impl FnOnce() -> T + UnwindSafe) -> String {
    let panic = catch_unwind(work).err().unwrap();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

fn problem() -> Quadratic {
    Quadratic::random(4, 2, 7)
}

/// dX = −X dt + dW in `d` dimensions, with noise of any kind.
pub struct Plain {
    pub d: usize,
    pub noise: NoiseType,
}

impl Sde for Plain {
    fn dim(&self) -> usize {
        self.d
    }
    fn noise_type(&self) -> NoiseType {
        self.noise
    }
    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        drift.iter_mut().zip(x).for_each(|(drift, x)| *drift = -x);
    }
    fn diffusion(&self, _: &[f64], sigma: &mut [f64]) {
        sigma.fill(1.);
    }
    fn separable(&self) -> bool {
        true
    }
}

const LINE: Plain = Plain { d: 1, noise: NoiseType::Diagonal };

/// A loss of nothing: any number of samples in any number of dimensions.
pub struct Flat(pub usize, pub usize);

impl Problem for Flat {
    fn dim(&self) -> usize {
        self.1
    }
    fn samples(&self) -> usize {
        self.0
    }
    fn loss(&self, _: usize, _: &[f64]) -> f64 {
        0.
    }
    fn add_gradient(&self, _: usize, _: &[f64], _: f64, _: &mut [f64]) {}
    fn add_hessian(&self, _: usize, _: &[f64], _: &[f64], _: f64, _: &mut [f64]) {}
}

/// All that takes an algorithm says the same of it.
#[test]
fn constants_of_an_algorithm_that_no_formula_allows_are_named_wherever_it_is_used() {
    let (problem, grid) = (problem(), Grid::new(&[(-1., 1.); 2], 2).unwrap());
    let floor = |floor| Algorithm { normalisation: Normalisation::Unit { floor }, ..Algorithm::sam(0.1, 2) };
    let gibbs = |lambda| Algorithm { ascent: AscentGradient::Gibbs { lambda }, ..Algorithm::usam(0.1, 2) };
    for (algorithm, expected) in [
        (Algorithm::usam(f64::NAN, 2), "rho is NaN; expected a finite number of at least 0"),
        (Algorithm::usam(-0.1, 2), "rho is -0.1; expected a finite number of at least 0"),
        (Algorithm::usam(f64::INFINITY, 2), "rho is inf; expected a finite number of at least 0"),
        (gibbs(f64::NAN), "lambda is NaN; expected a finite number of at least 0"),
        (gibbs(-1.), "lambda is -1; expected a finite number of at least 0"),
        (floor(f64::NAN), "floor is NaN; expected a finite number of at least 0"),
        (Algorithm::m_usam(0.1, 0, 2), "micro is 0 and batch 2; expected both positive, micro a divisor of batch"),
        (Algorithm::m_usam(0.1, 4, 2), "micro is 4 and batch 2; expected both positive, micro a divisor of batch"),
        (Algorithm::usam(0.1, 0), "micro is 0 and batch 0; expected both positive, micro a divisor of batch"),
        (
            Algorithm::usam(0.1, 5).without_replacement(),
            "batch is 5; expected at most the 4 samples, which are drawn without replacement",
        ),
    ] {
        let (x, mut out) = ([0.; 2], [0.; 4]);
        let found = [
            text(Modified::new(&problem, algorithm, 0.1, Order::BEST)),
            text(Descent::new(&problem, algorithm, 0.1)),
            text(StepMoments::new(&problem, algorithm, 0.1)),
            text(StepOperator::new(&problem, algorithm, 0.1, &grid)),
            text(potential(&problem, &algorithm, &x)),
            text(usam_drift(&problem, &algorithm, &x, &mut out[..2])),
            text(usam_diffusion(&problem, &algorithm, &x, &mut out)),
        ];
        assert!(found.iter().all(|found| found == expected), "{found:?}");
    }
}

/// A wrong argument, a method that does not apply, and a request that is too large are different variants.
#[test]
fn a_program_can_match_on_the_kind_of_an_error() {
    let problem = problem();
    let wrong = Modified::new(&problem, Algorithm::usam(-1., 2), 0.1, Order::BEST);
    assert!(matches!(wrong, Err(Error::InvalidArgument(_))));
    assert!(matches!(StepMoments::new(&problem, Algorithm::sam(0.1, 2), 0.1), Err(Error::Unsupported(_))));
    assert!(matches!(Modified::new(&problem, Algorithm::sgd(1000), 0.1, Order::BEST), Err(Error::TooLarge(_))));
    assert!(matches!(Generator::new(&Plain { d: 300, noise: NoiseType::Diagonal }), Err(Error::TooLarge(_))));
    let chain = Descent::new(&problem, Algorithm::sgd(1), 0.1).unwrap();
    let ensemble = Ensemble { paths: 1, seed: 0, steps: 1, every: 1 };
    let stopped = ensemble.ends(&chain, at(&[0.; 2]), &|_, _| std::ops::ControlFlow::Break(())).unwrap_err();
    assert_eq!(Error::from(stopped), Error::Stopped);
    assert_eq!(Error::Stopped.to_string(), stopped.to_string());
}

#[test]
fn a_learning_rate_is_above_0_wherever_it_is_used() {
    let (problem, grid) = (problem(), Grid::new(&[(-1., 1.); 2], 2).unwrap());
    for eta in [0., -0.1, f64::NAN, f64::INFINITY] {
        let sgd = Algorithm::sgd(2);
        let found = [
            text(Modified::new(&problem, sgd, eta, Order::BEST)),
            text(Descent::new(&problem, sgd, eta)),
            text(StepMoments::new(&problem, sgd, eta)),
            text(StepOperator::new(&problem, sgd, eta, &grid)),
        ];
        assert!(
            found.iter().all(|found| *found == format!("eta is {eta}; expected a finite number above 0")),
            "{found:?}"
        );
    }
}

#[test]
fn orders_that_are_not_offered_are_errors() {
    let problem = problem();
    let of = |eta, rho| text(Modified::new(&problem, Algorithm::sgd(2), 0.1, Order { eta, rho }));
    assert_eq!(of(0, Expansion::Exact), "the order in eta is 0; expected 1 or 2");
    assert!(of(1, Expansion::Order(3)).starts_with("the order in rho is 3; expected"));
    let steps = StepMoments::new(&problem, Algorithm::sgd(2), 0.1).unwrap();
    assert_eq!(text(steps.generator(0)), "the order in eta is 0; expected at least 1");
}

#[test]
fn an_empty_problem_is_refused_wherever_it_is_used() {
    let (sgd, grid) = (Algorithm::sgd(1), Grid::new(&[(-1., 1.)], 2).unwrap());
    let none = "the problem has no samples; expected at least one";
    for (empty, expected) in [(Flat(0, 1), none), (Flat(1, 0), "the problem is in 0 dimensions; expected at least 1")] {
        let x = vec![0.; empty.1];
        let found = [
            text(Modified::new(&empty, sgd, 0.1, Order::BEST)),
            text(Descent::new(&empty, sgd, 0.1)),
            text(StepMoments::new(&empty, sgd, 0.1)),
            text(potential(&empty, &sgd, &x)),
            text(expected_norm(&empty, &x, 1, Sampling::WithReplacement)),
            panics(|| noise_trace(&empty, &x)),
        ];
        assert!(found.iter().all(|found| found == expected), "{found:?}");
    }
    assert_eq!(text(StepOperator::new(&Flat(0, 1), sgd, 0.1, &grid)), none);
    let mut out = [0.];
    assert_eq!(panics(|| mean_loss(&Flat(0, 1), &[0.])), none);
    assert_eq!(panics(move || mean_gradient(&Flat(0, 1), &[0.], &mut out)), none);
    assert_eq!(panics(move || mean_hessian(&Flat(0, 1), &[0.], &[1.], &mut out)), none);
    let k = text(expected_norm(&Flat(2, 1), &[0.], 0, Sampling::WithReplacement));
    assert_eq!(k, "the size k of a batch is 0; expected at least 1");
    let factor = panics(|| Sampling::WithoutReplacement.population_factor(4, 0));
    assert_eq!(factor, "a mean of 0 of 4 samples; expected at least 1 of each");
    assert_eq!(panics(|| Algorithm::m_sam(0.1, 0, 4).micro_batches()), "micro is 0; expected at least 1");
}

#[test]
fn a_step_has_a_size_and_an_equation_a_dimension() {
    for dt in [0., -0.1, f64::NAN, f64::INFINITY] {
        let found =
            [text(EulerMaruyama::new(LINE, dt)), text(Milstein::new(LINE, dt)), text(WeakOrder2::new(LINE, dt))];
        assert!(
            found.iter().all(|found| *found == format!("dt is {dt}; expected a finite number above 0")),
            "{found:?}"
        );
    }
    for dt in [-0.1, f64::NAN, f64::INFINITY] {
        let expected = format!("the time is {dt}; expected a finite number of at least 0");
        assert_eq!(panics(move || brownian::gaussian(&mut stream(0, 0), dt, &mut [0.])), expected);
        assert_eq!(panics(move || brownian::discrete(&mut stream(0, 0), dt, &mut [0.], &mut [])), expected);
    }
    let nowhere = || Plain { d: 0, noise: NoiseType::Diagonal };
    let found = [
        text(EulerMaruyama::new(nowhere(), 0.1)),
        text(Milstein::new(nowhere(), 0.1)),
        text(WeakOrder2::new(nowhere(), 0.1)),
        text(Generator::new(&nowhere())),
    ];
    assert!(found.iter().all(|found| found == "the equation is in 0 dimensions; expected at least 1"), "{found:?}");
    assert!(text(mean_exit_time(&nowhere(), 0., (-1., 1.), 10)).contains("0 dimensions; expected one"));
    assert!(text(mean_exit_time(&LINE, 0., (-1., 1.), 0)).contains("0 cells"));
    assert!(text(mean_exit_time(&LINE, f64::NAN, (-1., 1.), 10)).contains("start NaN"));
}

#[test]
fn no_time_is_before_the_start() {
    let (generator, grid) = (Generator::new(&LINE).unwrap(), Grid::new(&[(-1., 1.)], 4).unwrap());
    let operator = EquationOperator::new(&LINE, &grid).unwrap();
    for time in [-1., f64::NAN, f64::INFINITY] {
        let expected = format!("the time is {time}; expected a finite number of at least 0");
        assert_eq!(panics(|| generator.at(time, &[1.])), expected);
        assert_eq!(panics(|| operator.over(time)), expected);
    }
    assert_eq!(generator.at(0., &[1.5]).mean, [1.5]);
    assert!((operator.over(0.).expect(&[0.3], |x| x[0]) - 0.3).abs() < 1e-14);
}

#[test]
fn starts_and_grids_are_of_the_dimension_of_what_they_are_for() {
    let (problem, grid) = (problem(), Grid::new(&[(-1., 1.)], 4).unwrap());
    let steps = StepMoments::new(&problem, Algorithm::sgd(2), 0.1).unwrap();
    assert_eq!(panics(|| steps.after(1, &[1., 2., 3.])), "a start in 3 dimensions; expected 2");
    assert_eq!(panics(|| Generator::new(&LINE).unwrap().at(1., &[])), "a start in 0 dimensions; expected 1");
    let flow = EquationOperator::new(&LINE, &grid).unwrap().over(1.);
    assert_eq!(panics(|| flow.expect(&[1., 2.], |x| x[0])), "a point in 2 dimensions on a grid in 1");
    let two = Plain { d: 2, noise: NoiseType::Diagonal };
    assert_eq!(
        text(EquationOperator::new(&two, &grid)),
        "the grid is in 1 dimensions; expected 2, those of the equation"
    );
    assert_eq!(
        text(StepOperator::new(&problem, Algorithm::sgd(2), 0.1, &grid)),
        "the grid is in 1 dimensions; expected 2, those of the problem"
    );
}

#[test]
fn an_ensemble_has_paths_moments_and_outputs() {
    let all = Ensemble { paths: 10, seed: 0, steps: 10, every: 5 };
    let (none, never) = (Ensemble { paths: 0, ..all }, Ensemble { every: 0, ..all });
    let run = |ensemble: Ensemble, start: &'static [f64], outputs: usize| {
        panics(move || {
            let chain = EulerMaruyama::new(LINE, 0.1).unwrap();
            ensemble.run(&chain, at(start), outputs, |x, out| out[0] = x[0], &silent)
        })
    };
    assert_eq!(run(none, &[0.], 1), "paths is 0; expected at least 1");
    assert_eq!(run(never, &[0.], 1), "every is 0; expected at least 1 step between moments");
    assert_eq!(run(all, &[0.], 0), "outputs is 0; expected at least 1");
    assert_eq!(run(all, &[0.; 2], 1), "a start in 2 dimensions; expected 1, those of the chain");
    let moments = Ensemble { steps: usize::MAX, every: 1, ..all };
    assert!(run(moments, &[0.], 1).contains("make `every` larger"));
    let chain = || EulerMaruyama::new(LINE, 0.1).unwrap();
    assert_eq!(panics(|| none.ends(&chain(), at(&[0.]), &silent)), "paths is 0; expected at least 1");
    assert_eq!(panics(|| none.exits(&chain(), at(&[0.]), |_| true, &silent)), "paths is 0; expected at least 1");
}
