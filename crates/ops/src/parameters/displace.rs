//! Parameters that are moved, and put back bit for bit.

use super::scale::sum;
use super::{Length, check, plain};
use crate::float::{Float, with_float, with_slice};
use crate::node::on_cpu;
use crate::parallel::zip_map;
use candle_core::{CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::sync::Mutex;

/// The numbers that tensors had before they were changed in place.
#[must_use = "the tensors stay displaced until they are put back"]
pub struct Saved(Vec<(Tensor, Storage)>);

impl Saved {
    /// Gives the tensors their numbers back, bit for bit; nothing is copied.
    pub fn put_back(self) -> Result<()> {
        self.0.into_iter().try_for_each(|(tensor, values)| exchange(&tensor, values).map(drop))
    }

    /// Puts each of `values` into the place of the storage of one of `tensors`; all of them or none.
    pub(crate) fn exchange(tensors: &[&Tensor], values: Vec<Storage>) -> Result<Self> {
        let mut saved = Self(Vec::with_capacity(tensors.len()));
        for (tensor, values) in tensors.iter().zip(values) {
            match exchange(tensor, values) {
                Ok(before) => saved.0.push((tensor.detach(), before)),
                Err(error) => {
                    saved.put_back()?;
                    return Err(error);
                }
            }
        }
        Ok(saved)
    }
}

/// x ← x + c y in place, where everybody who shares the storage of `x` sees it; returns what x was. One pass.
///
/// `Err` if shapes or element types differ, or one of `x` is a view of a larger tensor.
pub fn displace(x: &[&Tensor], c: f64, y: &[&Tensor]) -> Result<Saved> {
    check("displace", x, y)?;
    let (from, y) = (plain(x)?, plain(y)?);
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&from)? {
        return Saved::exchange(x, crate::cuda::parameters::displaced(&gpu, &from, c, &y)?);
    }
    let moved = from.iter().zip(&y).map(|(x, y)| sum(x, c, y)).collect::<Result<_>>()?;
    Saved::exchange(x, moved)
}

/// x ← x + f z in place for random signs z, which are nowhere in memory on a GPU; returns what x was, and f as f64 `[]`
/// on the device of x. One pass, and one for each length that must be known.
///
/// The signs of tensor i are the bits of the ChaCha8 stream (as `rand_chacha` has it) of `seeds[i]`, in order, +1 for a
/// 1: the same on every device. f makes f z as long as is said.
///
/// `Err` if one of `x` is a view of a larger tensor, or the numbers of tensors and seeds differ.
pub fn displace_by_signs(x: &[&Tensor], seeds: &[[u8; 32]], length: Length) -> Result<(Saved, Tensor)> {
    if x.len() != seeds.len() {
        bail!("displace_by_signs: {} tensors need as many seeds, not {}", x.len(), seeds.len());
    }
    let from = plain(x)?;
    let count = from.iter().map(|x| x.elem_count()).sum::<usize>() as f64; // ‖z‖²
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&from)? {
        let (moved, f) = crate::cuda::parameters::displaced_by_signs(&gpu, &from, seeds, length, count)?;
        return Ok((Saved::exchange(x, moved)?, f));
    }
    let f = length.factor(|| Ok(count))?;
    let one = |(x, seed): (&Tensor, &[u8; 32])| {
        with_float!("displace_by_signs", x, T => with_slice::<T, _>(x, |values| {
            let signs: Vec<T> = signs(values.len(), *seed, T::narrow(f));
            Ok(on_cpu(zip_map(values, &signs, |x: T, z| x + z)))
        }))
    };
    let moved = from.par_iter().zip(seeds).map(one).collect::<Result<_>>()?;
    Ok((Saved::exchange(x, moved)?, Tensor::new(f, &Device::Cpu)?))
}

/// ±f
fn signs<T: Float>(len: usize, seed: [u8; 32], f: T) -> Vec<T> {
    let (mut rng, mut signs) = (ChaCha8Rng::from_seed(seed), Vec::with_capacity(len));
    while signs.len() < len {
        let bits = rng.next_u32();
        let some = (len - signs.len()).min(32);
        signs.extend((0..some).map(|i| if bits >> i & 1 == 1 { f } else { -f }));
    }
    signs
}

/// Keeps the numbers of tensors of any element type, which may then be changed. One pass.
///
/// `Err` if one of them is a view of a larger tensor.
pub fn save(tensors: &[&Tensor]) -> Result<Saved> {
    let from = plain(tensors)?;
    #[cfg(feature = "cuda")]
    if let Some(gpu) = crate::cuda::gpu_of_all(&from)? {
        return Saved::exchange(tensors, crate::cuda::parameters::copied(&gpu, &from)?);
    }
    Saved::exchange(tensors, from.iter().map(|tensor| storage_of(&tensor.copy()?)).collect::<Result<_>>()?)
}

/// The storage of a tensor on the CPU that nobody else has.
fn storage_of(tensor: &Tensor) -> Result<Storage> {
    exchange(tensor, Storage::Cpu(CpuStorage::U8(Vec::new())))
}

/// Puts `values` into the place of a tensor's storage, and returns that.
fn exchange(tensor: &Tensor, values: Storage) -> Result<Storage> {
    struct Exchange(Mutex<Option<Storage>>);

    impl Exchange {
        fn with(&self, len: usize, layout: &Layout, swap: impl FnOnce(&mut Storage)) -> Result<()> {
            if layout.contiguous_offsets() != Some((0, len)) {
                bail!("a view of a larger tensor cannot be changed in place");
            }
            if let Ok(mut values) = self.0.lock()
                && let Some(values) = values.as_mut()
            {
                swap(values);
            }
            Ok(())
        }
    }

    impl InplaceOp1 for Exchange {
        fn name(&self) -> &'static str {
            "exchange"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let len = match &*storage {
                CpuStorage::U8(values) => values.len(),
                CpuStorage::U32(values) => values.len(),
                CpuStorage::I64(values) => values.len(),
                CpuStorage::F32(values) => values.len(),
                CpuStorage::F64(values) => values.len(),
                _ => bail!("expected u8, u32, i64, f32 or f64"),
            };
            self.with(len, layout, |values| {
                if let Storage::Cpu(values) = values {
                    std::mem::swap(storage, values);
                }
            })
        }

        fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
            let len = crate::node::cuda_len(storage)?;
            self.with(len, layout, |values| {
                if let Storage::Cuda(values) = values {
                    std::mem::swap(storage, values);
                }
            })
        }
    }
    let exchange = Exchange(Mutex::new(Some(values)));
    tensor.detach().inplace_op1(&exchange)?;
    match exchange.0.into_inner() {
        Ok(Some(values)) => Ok(values),
        _ => bail!("the storage of a tensor was lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add_scaled;
    use candle_core::{DType, Var};

    fn values(x: &Tensor) -> Result<Vec<f32>> {
        x.flatten_all()?.to_vec1()
    }

    #[test]
    fn what_is_displaced_comes_back_bit_for_bit() -> Result<()> {
        let x = Var::randn(0f32, 1., (70, 301), &Device::Cpu)?;
        let y = Tensor::randn(0f32, 1., (70, 301), &Device::Cpu)?;
        let (before, y_values) = (values(&x)?, values(&y)?);
        let saved = displace(&[&x], -0.3, &[&y])?;
        let expected: Vec<f32> = before.iter().zip(&y_values).map(|(x, y)| x + -0.3 * y).collect();
        assert_eq!(values(&x)?, expected);
        assert_eq!(values(&add_scaled(&[&x], 2., &[&y])?[0])?.len(), expected.len());
        saved.put_back()?;
        assert_eq!(values(&x)?, before);
        Ok(())
    }

    #[test]
    fn a_view_is_refused_and_nothing_stays_displaced() -> Result<()> {
        let whole = Var::ones(5, DType::F32, &Device::Cpu)?;
        let x = Var::randn(0f32, 1., (4, 3), &Device::Cpu)?;
        for (start, len) in [(0, 2), (1, 3)] {
            let (before, part) = (values(&x)?, x.narrow(0, start, len)?);
            let error = displace(&[&whole, &part], 1., &[&whole, &part]).map(drop).unwrap_err().to_string();
            assert!(error.contains("view"), "{error}");
            assert_eq!((values(&whole)?, values(&x)?), (vec![1.; 5], before));
        }
        Ok(())
    }

    #[test]
    fn signs_are_as_long_as_is_said_and_repeat() -> Result<()> {
        let (a, b) = (Var::zeros(1000, DType::F32, &Device::Cpu)?, Var::zeros(37, DType::F32, &Device::Cpu)?);
        let (saved, f) = displace_by_signs(&[&a, &b], &[[1; 32], [2; 32]], Length::Of(3.))?;
        let f = f.to_scalar::<f64>()? as f32;
        assert!((f - 3. / 1037f32.sqrt()).abs() < 1e-6);
        let mut bits = ChaCha8Rng::from_seed([2; 32]);
        let words = [bits.next_u32(), bits.next_u32()];
        let expected: Vec<f32> = (0..37).map(|i| if words[i / 32] >> (i % 32) & 1 == 1 { f } else { -f }).collect();
        assert_eq!(values(&b)?, expected);
        let mean = values(&a)?.iter().sum::<f32>() / (1000. * f);
        assert!(mean.abs() < 0.12, "{mean}");
        saved.put_back()?;
        assert_eq!(values(&a)?, vec![0.; 1000]);
        Ok(())
    }

    #[test]
    fn what_is_saved_may_change() -> Result<()> {
        let (x, n) = (Var::ones(3, DType::F64, &Device::Cpu)?, Var::new(7i64, &Device::Cpu)?);
        let saved = save(&[&x, &n])?;
        x.set(&x.affine(2., 0.)?.detach())?;
        n.set(&Tensor::new(8i64, &Device::Cpu)?)?;
        assert_eq!((x.to_vec1::<f64>()?, n.to_scalar::<i64>()?), (vec![2.; 3], 8));
        saved.put_back()?;
        assert_eq!((x.to_vec1::<f64>()?, n.to_scalar::<i64>()?), (vec![1.; 3], 7));
        Ok(())
    }
}
