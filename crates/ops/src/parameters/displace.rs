//! Parameters that are moved, and put back bit for bit.

use super::lists::{check, plain};
use super::{Rescale, Saved};
use crate::dispatch::on_device;
use candle_core::{Result, Tensor, bail};

/// x ← x + c y in place, for all tensors that share the storage of `x`; returns the previous values. One pass.
///
/// `Err` if shapes or element types differ, or one of `x` is a view of a larger tensor.
pub fn displace(x: &[&Tensor], c: f64, y: &[&Tensor]) -> Result<Saved> {
    check("displace", x, y)?;
    let (from, y) = (plain(x)?, plain(y)?);
    Saved::exchange(x, on_device!(from.first(), displaced(&from, c, &y))?)
}

/// x ← x + f z in place for random signs z, which are not stored on a GPU; returns the previous values, and f as f64
/// `[]` on the device of x. One pass, and one for each length that must be computed.
///
/// The signs of tensor i are the bits of the ChaCha8 stream (as `rand_chacha` has it) of `seeds[i]`, in order, +1 for a
/// 1: the same on every device. f z has the requested `length`.
///
/// `Err` if one of `x` is a view of a larger tensor, or the numbers of tensors and seeds differ.
pub fn displace_by_signs(x: &[&Tensor], seeds: &[[u8; 32]], length: Rescale) -> Result<(Saved, Tensor)> {
    if x.len() != seeds.len() {
        bail!("displace_by_signs: {} tensors need as many seeds, not {}", x.len(), seeds.len());
    }
    let from = plain(x)?;
    let count = from.iter().map(|x| x.elem_count()).sum::<usize>() as f64; // ‖z‖²
    let (moved, f) = on_device!(from.first(), displaced_by_signs(&from, seeds, length, count))?;
    Ok((Saved::exchange(x, moved)?, f))
}

/// Keeps a copy of the values of tensors of any element type, which may then be changed. One pass.
///
/// `Err` if one of them is a view of a larger tensor.
pub fn save(tensors: &[&Tensor]) -> Result<Saved> {
    let from = plain(tensors)?;
    Saved::exchange(tensors, on_device!(from.first(), saved(&from))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add_scaled;
    use candle_core::{DType, Device, Var};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

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
        let (saved, f) = displace_by_signs(&[&a, &b], &[[1; 32], [2; 32]], Rescale::Of(3.))?;
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
