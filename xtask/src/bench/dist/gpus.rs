//! What a step would last on many GPUs: a model of latency and bandwidth.

use clap::Args;

/// The constants of the model. Those of the links are nominal ones of a DGX A100; the speed of a GPU is an assumption,
/// for which `bench cuda` has the figure of yours.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Model of GPUs")]
pub struct Constants {
    /// F: the speed that a GPU reaches in a step, in TFLOP/s
    #[arg(long, default_value_t = 40., value_name = "F")]
    pub gpu_tflops: f64,
    /// α: the time of a message however short, in microseconds
    #[arg(long, default_value_t = 10., value_name = "ALPHA")]
    pub latency_us: f64,
    /// β within a machine: what a GPU sends to others, in GB/s
    #[arg(long, default_value_t = 300., value_name = "BETA")]
    pub link_gb_per_s: f64,
    /// β between machines: what a GPU sends to others, in GB/s
    #[arg(long, default_value_t = 25., value_name = "BETA")]
    pub network_gb_per_s: f64,
    /// GPUs of a machine; beyond them all bytes go at the rate of the network
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    pub gpus_per_machine: usize,
}

impl Constants {
    /// The first one that is out of range, by its flag.
    pub fn fault(&self) -> Option<String> {
        let speeds = [
            ("gpu-tflops", self.gpu_tflops),
            ("link-gb-per-s", self.link_gb_per_s),
            ("network-gb-per-s", self.network_gb_per_s),
        ];
        if let Some((flag, value)) = speeds.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.)) {
            return Some(format!("--{flag} is {value}; expected a number above 0"));
        }
        if !(self.latency_us.is_finite() && self.latency_us >= 0.) {
            return Some(format!("--latency-us is {}; expected a number of at least 0", self.latency_us));
        }
        (self.gpus_per_machine == 0).then(|| "--gpus-per-machine is 0; expected at least 1".to_owned())
    }

    /// Milliseconds of so many floating-point operations.
    pub fn compute_ms(&self, flop: f64) -> f64 {
        1e-9 * flop / self.gpu_tflops
    }

    /// Milliseconds of so many collective operations on `gpus` GPUs, in which each sends so many bytes: each takes
    /// ⌈log₂ n⌉ messages one after another, as recursive halving and doubling do (Thakur, Rabenseifner, Gropp, 2005).
    pub fn communication_ms(&self, gpus: usize, calls: usize, bytes: usize) -> f64 {
        let messages = calls as f64 * f64::from(gpus.next_power_of_two().ilog2());
        let rate = if gpus <= self.gpus_per_machine { self.link_gb_per_s } else { self.network_gb_per_s };
        1e-3 * messages * self.latency_us + 1e-6 * bytes as f64 / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Constants =
        Constants { gpu_tflops: 50., latency_us: 10., link_gb_per_s: 100., network_gb_per_s: 10., gpus_per_machine: 8 };

    /// 10⁹ bytes at 100 and 10 GB/s; 2 calls of 3 and of 4 messages of 10 µs.
    #[test]
    fn times_are_those_of_the_formula() {
        assert!((ROUND.compute_ms(1e12) - 20.).abs() < 1e-9);
        assert!((ROUND.communication_ms(8, 2, 1_000_000_000) - 10.06).abs() < 1e-9);
        assert!((ROUND.communication_ms(9, 2, 1_000_000_000) - 100.08).abs() < 1e-9);
        assert_eq!(ROUND.communication_ms(1, 2, 0), 0.);
    }

    #[test]
    fn constants_that_make_no_time_are_named() {
        assert_eq!(ROUND.fault(), None);
        for (constants, flag) in [
            (Constants { gpu_tflops: 0., ..ROUND }, "--gpu-tflops is 0"),
            (Constants { network_gb_per_s: f64::NAN, ..ROUND }, "--network-gb-per-s"),
            (Constants { latency_us: -1., ..ROUND }, "--latency-us is -1"),
            (Constants { gpus_per_machine: 0, ..ROUND }, "--gpus-per-machine"),
        ] {
            assert!(constants.fault().is_some_and(|fault| fault.contains(flag)), "{flag}");
        }
    }
}
