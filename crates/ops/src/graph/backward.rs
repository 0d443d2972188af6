//! A backward pass that leaves the gradients of variables as the ops have made them.

use crate::cuda;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Result, Storage, Tensor};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Variables and their gradients so far, in the order of the pass. A network has so few that looking through them costs
/// nothing beside its layers.
type Gradients = Vec<(Tensor, Tensor)>;

thread_local! {
    /// Those of the pass that runs on this thread, if it is one of [`backward`].
    static GRADIENTS: RefCell<Option<Gradients>> = const { RefCell::new(None) };
}

/// The gradients of `loss`, as its own `backward` gives them.
///
/// That one fills a tensor of zeros for each parameter and adds the gradient to it, which is a good part of what a step
/// does besides its layers. Here the gradient that an op of this crate makes is the gradient.
///
/// ```
/// use candle_core::{DType::F32, Device::Cpu, Tensor, Var};
///
/// let (x, weight) = (Tensor::ones((2, 3), F32, &Cpu)?, Var::zeros((1, 3), F32, &Cpu)?);
/// let grads = msharp_ops::backward(&msharp_ops::linear(&x, &weight, None)?.sum_all()?)?;
/// assert_eq!(grads.get(&weight).expect("a gradient").to_vec2::<f32>()?, [[2.; 3]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// Those of the pass.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    /// Of the pass around this one, if there is one.
    struct Outer(Option<Gradients>);
    impl Drop for Outer {
        fn drop(&mut self) {
            GRADIENTS.set(self.0.take());
        }
    }

    let outer = Outer(GRADIENTS.replace(Some(Gradients::new())));
    let mut grads = loss.backward()?;
    let own = GRADIENTS.take().unwrap_or_default();
    drop(outer);
    let mut storages = BTreeSet::new();
    for (variable, gradient) in own {
        let gradient = match grads.remove(&variable) {
            Some(of_candle) => of_candle.add(&gradient)?,
            None if is_whole(&gradient) && storages.insert(storage(&gradient)) => gradient,
            // It is a part of something, or also the gradient of another variable: who changes one changes only one.
            None => gradient.copy()?,
        };
        grads.insert(&variable, gradient);
    }
    Ok(grads)
}

/// Takes the gradient of an op's input, if that is a variable and the pass is one of [`backward`].
pub(super) fn taken(input: &Tensor, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    let Some(gradient) = gradient else { return Ok(None) };
    if !input.is_variable() {
        return Ok(Some(gradient));
    }
    GRADIENTS.with_borrow_mut(|gradients| {
        let Some(gradients) = gradients else { return Ok(Some(gradient)) };
        match gradients.iter_mut().find(|(variable, _)| variable.id() == input.id()) {
            Some((_, sum)) => *sum = sum.add(&gradient)?,
            None => gradients.push((input.clone(), gradient)),
        }
        Ok(None)
    })
}

/// Whether a tensor is all of what lies in its memory.
fn is_whole(x: &Tensor) -> bool {
    let (storage, layout) = x.storage_and_layout();
    let len = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Some(values.len()),
        Storage::Cpu(CpuStorage::F64(values)) => Some(values.len()),
        Storage::Cuda(storage) => cuda::len(storage).ok(),
        _ => None,
    };
    len.is_some_and(|len| layout.contiguous_offsets() == Some((0, len)))
}

/// Where the values of a tensor lie.
fn storage(x: &Tensor) -> *const Storage {
    &raw const *x.storage_and_layout().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::node::{Node, apply};
    use crate::{FeatureMap, add, conv2d, displace, linear, relu};
    use candle_core::{DType, Device, Var, bail};

    fn values(grads: &GradStore, x: &Tensor) -> Vec<f32> {
        grads.get(x).and_then(|grad| grad.flatten_all().ok()?.to_vec1().ok()).expect("a gradient")
    }

    /// A variable that is used twice, one that a layer and candle use, one that only candle uses, and one from which
    /// candle computes a parameter.
    #[test]
    fn gradients_are_those_of_candle() -> Result<()> {
        let var = |shape: &[usize]| Var::randn(0f32, 1., shape, &Device::Cpu);
        let (x, w, last) = (var(&[2, 5, 4, 3])?, var(&[3, 3, 3, 3])?, var(&[2, 3])?);
        let (bias, factor) = (var(&[2])?, var(&[1])?);
        let h = FeatureMap::enter(&x)?;
        let h = relu(&conv2d(&h, &w, None, (1, 1), (1, 1))?)?;
        let h = conv2d(&h, &w, None, (1, 1), (1, 1))?.leave()?.mean((1, 2))?;
        let y = linear(&h, &last.broadcast_mul(&factor)?, Some(&bias))?.broadcast_add(&bias)?;
        let loss = (y.sqr()?.sum_all()? + last.sqr()?.sum_all()?)?;
        let (expected, found) = (loss.backward()?, backward(&loss)?);
        for variable in [&x, &w, &last, &bias, &factor] {
            let (expected, found) = (values(&expected, variable), values(&found, variable));
            for (a, b) in expected.iter().zip(&found) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.), "{a} {b}");
            }
        }
        for exact in [&x, &w, &last, &factor] {
            assert_eq!(values(&expected, exact), values(&found, exact));
        }
        Ok(())
    }

    #[test]
    fn no_two_gradients_are_one() -> Result<()> {
        let (a, b) = (Var::ones(3, DType::F32, &Device::Cpu)?, Var::ones(3, DType::F32, &Device::Cpu)?);
        let grads = backward(&add(a.as_tensor(), b.as_tensor())?.sum_all()?)?;
        let (of_a, of_b) = (grads.get(&a).expect("one"), grads.get(&b).expect("one"));
        let saved = displace(&[of_a], 4., &[of_b])?;
        assert_eq!((of_a.to_vec1::<f32>()?, of_b.to_vec1::<f32>()?), (vec![5.; 3], vec![1.; 3]));
        saved.put_back()?;
        Ok(())
    }

    #[test]
    fn a_pass_inside_another_and_one_after_an_error_are_their_own() -> Result<()> {
        let (x, w) = (Tensor::ones((1, 2), DType::F32, &Device::Cpu)?, Var::ones((1, 2), DType::F32, &Device::Cpu)?);
        let loss = linear(&x, &w, None)?.sum_all()?;
        let inner = loss.clone();
        let outer = crate::on_backward(&loss, move || assert!(backward(&inner).is_ok()))?;
        assert_eq!(values(&backward(&outer)?, &w), [1.; 2]);
        let result = loss.storage_and_layout().0.try_clone(loss.layout())?;
        let node =
            Node::new("failing", result, ().into(), |_: [&Tensor; 1], _: &Tensor, _: &Tensor| bail!("on purpose"));
        assert!(backward(&apply(node, &[&loss])?).is_err());
        assert_eq!((values(&backward(&loss)?, &w), values(&loss.backward()?, &w)), (vec![1.; 2], vec![1.; 2]));
        Ok(())
    }
}
