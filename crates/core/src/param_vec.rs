//! Vectors in parameter space: gradients, offsets, velocities and probes are all of this one type.

use crate::{Error, Key, Params, Rescale};
use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// One tensor for each parameter, in the order of [`Params`]. Nothing in it holds a graph.
#[derive(Clone, Debug)]
pub struct ParamVec(Vec<Tensor>);

impl ParamVec {
    /// Takes one tensor for each parameter, detached.
    ///
    /// # Panics
    /// If the number or a shape differs from the parameters'.
    #[track_caller]
    pub fn new(params: &Params, tensors: Vec<Tensor>) -> Self {
        assert_eq!(tensors.len(), params.len(), "one tensor for each parameter");
        for (param, tensor) in params.iter().zip(&tensors) {
            assert_eq!(tensor.dims(), param.var.dims(), "shape for parameter {:?}", param.name);
        }
        Self(tensors.into_iter().map(|t| t.detach()).collect())
    }

    /// The gradients of a backward pass.
    ///
    /// # Errors
    /// Names the parameter that received none: an operation on the way cut the graph, or the loss does not use it.
    pub fn collect(params: &Params, grads: &GradStore) -> Result<Self> {
        let of = |p: &crate::Param| match grads.get(&p.var) {
            Some(grad) => Ok(grad.detach()),
            None => Err(Error::NoGradient { parameter: p.name.clone() }.into()),
        };
        Ok(Self(params.iter().map(of).collect::<Result<_>>()?))
    }

    /// The vector of other tensors, detached.
    ///
    /// # Panics
    /// If the number or a shape differs from that of these.
    #[track_caller]
    pub fn with(&self, tensors: Vec<Tensor>) -> Self {
        assert_eq!(tensors.len(), self.0.len(), "one tensor for each of this vector");
        for (old, new) in self.0.iter().zip(&tensors) {
            assert_eq!(old.dims(), new.dims(), "the shape of a tensor");
        }
        Self(tensors.into_iter().map(|tensor| tensor.detach()).collect())
    }

    /// Of tensors that have the shapes of the parameters, and no graph.
    pub(crate) fn of_tensors(tensors: Vec<Tensor>) -> Self {
        Self(tensors)
    }

    /// In place of a vector that is read no more.
    pub(crate) fn released() -> Self {
        Self(Vec::new())
    }

    /// The vector 0.
    pub fn zeros(params: &Params) -> Result<Self> {
        Ok(Self(params.iter().map(|p| p.var.zeros_like()).collect::<Result<_>>()?))
    }

    /// z ∈ {−1, +1}ᵈ, a pure function of the key and the parameters' names; ‖z‖ = √d.
    pub fn rademacher(params: &Params, key: Key) -> Result<Self> {
        Self::draw(params, key, |rng, out| {
            for block in out.chunks_mut(64) {
                let bits = rng.next_u64();
                // The sign bit of a 1; a branch for each of millions of elements would be a good part of a probe.
                for (i, z) in (0u32..).zip(block) {
                    *z = f32::from_bits(1f32.to_bits() | (!bits.wrapping_shr(i) as u32 & 1) << 31);
                }
            }
        })
    }

    /// z ~ N(0, I), a pure function of the key and the parameters' names.
    pub fn gaussian(params: &Params, key: Key) -> Result<Self> {
        Self::draw(params, key, |rng, out| out.iter_mut().for_each(|z| *z = StandardNormal.sample(rng)))
    }

    /// Uniform in [0, 1), multiples of 2⁻²⁴; a pure function of the key and the parameters' names.
    pub fn uniform(params: &Params, key: Key) -> Result<Self> {
        let draw = |rng: &mut rand_chacha::ChaCha8Rng| (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
        Self::draw(params, key, |rng, out| out.iter_mut().for_each(|z| *z = draw(rng)))
    }

    fn draw(params: &Params, key: Key, fill: impl Fn(&mut rand_chacha::ChaCha8Rng, &mut [f32]) + Sync) -> Result<Self> {
        let one = |p: &crate::Param| {
            let mut values = vec![0f32; p.var.elem_count()];
            fill(&mut key.fold_name(&p.name).rng(), &mut values);
            Tensor::from_vec(values, p.var.shape(), p.var.device())?.to_dtype(p.var.dtype())
        };
        // Each parameter has a stream of its own, so their order in time does not matter.
        let params: Vec<&crate::Param> = params.iter().collect();
        Ok(Self(params.into_par_iter().map(one).collect::<Result<_>>()?))
    }

    /// The tensors, in the order of the parameters.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    /// ⟨self, other⟩, summed in f64; a host-device synchronisation on a GPU.
    pub fn dot(&self, other: &ParamVec) -> Result<f64> {
        msharp_ops::dot(&self.refs(), &other.refs())?.to_scalar()
    }

    /// ⟨self, other⟩ where the parameters are, f64 `[]`: no host-device synchronisation before it is read.
    pub fn inner(&self, other: &ParamVec) -> Result<Tensor> {
        msharp_ops::dot(&self.refs(), &other.refs())
    }

    /// ‖self‖, summed in f64; a host-device synchronisation on a GPU.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.dot(self)?.sqrt())
    }

    /// ‖self‖² where the parameters are, f64 `[]`: no host-device synchronisation before it is read.
    pub fn squared_norm(&self) -> Result<Tensor> {
        msharp_ops::sum_of_squares(&self.refs())
    }

    /// c · self.
    pub fn scale(&self, c: f64) -> Result<ParamVec> {
        Ok(self.scale_to(Rescale::Times(c))?.0)
    }

    /// f · self, rescaled to the given norm, and the factor f, f64 `[]`, where the parameters are.
    pub fn scale_to(&self, length: Rescale) -> Result<(ParamVec, Tensor)> {
        let (scaled, f) = msharp_ops::scale(&self.refs(), length)?;
        Ok((Self(scaled), f))
    }

    /// The multiple of self that is nearest to `other`: ⟨self, other⟩/‖self‖² · self, and 0 if self is 0.
    pub fn nearest_to(&self, other: &ParamVec) -> Result<ParamVec> {
        let f = (self.inner(other)? / (self.squared_norm()? + 1e-300)?)?;
        Ok(self.scale_to(Rescale::Given(&f))?.0)
    }

    /// self, shortened to length `most` if it is longer.
    pub fn clipped(&self, most: f64) -> Result<ParamVec> {
        let norm = self.squared_norm()?.sqrt()?;
        // 1/max(1, norm/most), in operations that need nothing from the host.
        let f = norm.affine(1. / most, -1.)?.relu()?.affine(1., 1.)?.recip()?;
        Ok(self.scale_to(Rescale::Given(&f))?.0)
    }

    /// What `f` makes of each tensor and the parameter that it belongs to: element-wise products, masks.
    pub fn map(&self, params: &Params, f: impl Fn(&crate::Param, &Tensor) -> Result<Tensor>) -> Result<ParamVec> {
        let tensors = params.iter().zip(&self.0).map(|(param, tensor)| f(param, tensor));
        Ok(Self::new(params, tensors.collect::<Result<_>>()?))
    }

    /// self + c · other.
    pub fn add_scaled(&self, c: f64, other: &ParamVec) -> Result<ParamVec> {
        Ok(Self(msharp_ops::add_scaled(&self.refs(), c, &other.refs())?))
    }

    /// The tensors, as ops over all parameters take them.
    pub fn refs(&self) -> Vec<&Tensor> {
        self.0.iter().collect()
    }

    /// Adds c · `term` to a sum that may not have begun.
    pub fn accumulate(sum: &mut Option<ParamVec>, c: f64, term: &ParamVec) -> Result<()> {
        *sum = Some(match sum.take() {
            None => term.scale(c)?,
            Some(sum) => sum.add_scaled(c, term)?,
        });
        Ok(())
    }

    /// The values, parameter after parameter; for tests and diagnostics.
    pub fn to_vec(&self) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        for tensor in &self.0 {
            values.extend(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn params() -> Result<Params> {
        let var = |n: usize| Var::ones(n, DType::F32, &Device::Cpu);
        Params::new([("b".to_owned(), var(70)?), ("a".to_owned(), var(3)?)])
    }

    #[test]
    fn algebra_is_that_of_vectors() -> Result<()> {
        let params = params()?;
        let (z, g) = (ParamVec::rademacher(&params, Key::new(1))?, ParamVec::gaussian(&params, Key::new(1))?);
        let sum = z.add_scaled(-2., &g)?.to_vec()?;
        let (z_values, g_values) = (z.to_vec()?, g.to_vec()?);
        for i in 0..73 {
            assert_eq!(sum[i], (z_values[i] as f32 - 2. * g_values[i] as f32) as f64);
        }
        assert_eq!(z.norm()?, 73f64.sqrt());
        let by_hand: f64 = z_values.iter().zip(&g_values).map(|(a, b)| a * b).sum();
        assert!((z.dot(&g)? - by_hand).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn probes_have_mean_0_and_are_functions_of_the_key() -> Result<()> {
        let big = Params::new([("w".to_owned(), Var::zeros(100_000, DType::F32, &Device::Cpu)?)])?;
        for draw in [ParamVec::rademacher, ParamVec::gaussian] {
            let z = draw(&big, Key::new(3))?;
            let mean = z.to_vec()?.iter().sum::<f64>() / 1e5;
            assert!(mean.abs() < 5. / 1e5f64.sqrt(), "mean {mean}");
            assert!((z.dot(&z)? / 1e5 - 1.).abs() < 0.03);
            assert_eq!(z.to_vec()?, draw(&big, Key::new(3))?.to_vec()?);
            assert_ne!(z.to_vec()?, draw(&big, Key::new(4))?.to_vec()?);
        }
        Ok(())
    }

    #[test]
    fn a_parameter_without_gradient_is_named() -> Result<()> {
        let params = params()?;
        let used = &params.iter().next().unwrap().var;
        let grads = used.sqr()?.sum_all()?.backward()?;
        assert!(ParamVec::collect(&params, &grads).unwrap_err().to_string().contains("\"b\" received no gradient"));
        Ok(())
    }
}
