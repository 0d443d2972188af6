//! Linear equations in the plane, whose moments are known.

use msharp_sde::{NoiseType, Sde};

/// dX = A X dt + Σₖ Bₖ X dWₖ in ℝ², by rows; or with its noise diagonal, or constant.
pub struct Linear {
    pub a: [[f64; 2]; 2],
    pub b: Vec<[[f64; 2]; 2]>,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// One Brownian motion for each Bₖ.
    General,
    /// σᵢ = (B₀ X)ᵢ, which depends on all of X, unless B₀ is diagonal.
    Diagonal,
    /// σᵢ = B₀ᵢᵢ.
    Additive,
}

pub fn times(m: &[[f64; 2]; 2], x: &[f64]) -> [f64; 2] {
    [m[0][0] * x[0] + m[0][1] * x[1], m[1][0] * x[0] + m[1][1] * x[1]]
}

impl Sde for Linear {
    fn dim(&self) -> usize {
        2
    }

    fn noise_type(&self) -> NoiseType {
        if self.kind == Kind::General { NoiseType::General(self.b.len()) } else { NoiseType::Diagonal }
    }

    fn drift(&self, x: &[f64], drift: &mut [f64]) {
        drift.copy_from_slice(&times(&self.a, x));
    }

    fn diffusion(&self, x: &[f64], sigma: &mut [f64]) {
        match self.kind {
            Kind::General => {
                for (k, b) in self.b.iter().enumerate() {
                    [sigma[k], sigma[self.b.len() + k]] = times(b, x);
                }
            }
            Kind::Diagonal => sigma.copy_from_slice(&times(&self.b[0], x)),
            Kind::Additive => sigma.copy_from_slice(&[self.b[0][0][0], self.b[0][1][1]]),
        }
    }

    fn separable(&self) -> bool {
        self.kind != Kind::General && self.b[0][0][1] == 0. && self.b[0][1][0] == 0.
    }
}

impl Linear {
    /// The rate of change of the moments (1, x, y, x², xy, y²): the generator on these monomials.
    pub fn moments(&self, m: &[f64; 6]) -> [f64; 6] {
        let second = [[m[3], m[4]], [m[4], m[5]]];
        let mut rate = [0.; 6];
        [rate[1], rate[2]] = times(&self.a, &m[1..3]);
        for (entry, (i, j)) in [(3, (0, 0)), (4, (0, 1)), (5, (1, 1))] {
            rate[entry] += (0..2).map(|k| self.a[i][k] * second[k][j] + self.a[j][k] * second[k][i]).sum::<f64>();
            let product = |u: &[f64; 2], v: &[f64; 2]| {
                (0..2).flat_map(|k| (0..2).map(move |l| (k, l))).map(|(k, l)| u[k] * second[k][l] * v[l]).sum::<f64>()
            };
            rate[entry] += match self.kind {
                Kind::General => self.b.iter().map(|b| product(&b[i], &b[j])).sum(),
                _ if i != j => 0.,
                Kind::Diagonal => product(&self.b[0][i], &self.b[0][i]),
                Kind::Additive => self.b[0][i][i].powi(2) * m[0],
            };
        }
        rate
    }

    /// The moments at time 1 of the solution from `x`: the Taylor series of the exponential.
    pub fn exact(&self, x: [f64; 2]) -> [f64; 6] {
        let mut term = monomials(&x);
        let mut sum = term;
        for n in 1..60 {
            term = self.moments(&term).map(|rate| rate / f64::from(n));
            (0..6).for_each(|i| sum[i] += term[i]);
        }
        sum
    }
}

pub fn monomials(x: &[f64]) -> [f64; 6] {
    [1., x[0], x[1], x[0] * x[0], x[0] * x[1], x[1] * x[1]]
}

pub const A: [[f64; 2]; 2] = [[-0.7, 0.4], [0.3, -0.5]];
pub const B: [[[f64; 2]; 2]; 3] = [[[0.3, 0.4], [-0.2, 0.1]], [[0.1, -0.3], [0.4, 0.2]], [[-0.2, 0.1], [0.1, 0.3]]];
pub const SEPARABLE: [[f64; 2]; 2] = [[0.6, 0.], [0., 0.4]];

pub fn general(sources: usize) -> Linear {
    Linear { a: A, b: B[..sources].to_vec(), kind: Kind::General }
}

pub fn diagonal(b: [[f64; 2]; 2], kind: Kind) -> Linear {
    Linear { a: A, b: vec![b], kind }
}
