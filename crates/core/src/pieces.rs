//! The numbers of a vector, in pieces that fit in a cache: how vectors are sent.

use crate::ParamVec;
use candle_core::{Device, Result, Storage, Tensor, WithDType, bail};

impl ParamVec {
    /// What `f` makes of the numbers of all tensors, one after another, in pieces of `most`, of which the last one is
    /// shorter. `f` changes the numbers of a piece, and not how many there are. Those on a GPU go through the host.
    ///
    /// # Errors
    /// Those of `f`; if the numbers are of another type.
    pub fn map_pieces<T: WithDType>(
        &self,
        most: usize,
        mut f: impl FnMut(&mut Vec<T>) -> Result<()>,
    ) -> Result<ParamVec> {
        let counts: Vec<usize> = self.tensors().iter().map(Tensor::elem_count).collect();
        let mut made: Vec<Vec<T>> = counts.iter().map(|count| Vec::with_capacity(*count)).collect();
        let mut filled = 0;
        let mut put = |mut numbers: &[T]| {
            while !numbers.is_empty() {
                let missing = counts[filled] - made[filled].len();
                let (own, rest) = numbers.split_at(numbers.len().min(missing));
                made[filled].extend_from_slice(own);
                filled += usize::from(own.len() == missing);
                numbers = rest;
            }
        };
        let mut left: usize = counts.iter().sum();
        let most = most.clamp(1, left.max(1));
        let mut piece = Vec::with_capacity(most);
        for tensor in self.tensors() {
            let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else { bail!("a tensor on the CPU is stored elsewhere") };
            let mut numbers = &T::cpu_storage_as_slice(storage)?[layout.start_offset()..][..tensor.elem_count()];
            while !numbers.is_empty() {
                let (now, later) = numbers.split_at(numbers.len().min(most - piece.len()));
                piece.extend_from_slice(now);
                (numbers, left) = (later, left - now.len());
                if piece.len() == most || left == 0 {
                    f(&mut piece)?;
                    put(&piece);
                    piece.clear();
                }
            }
        }
        let tensors = self.tensors().iter().zip(made);
        let tensors = tensors.map(|(tensor, numbers)| Tensor::from_vec(numbers, tensor.shape(), tensor.device()));
        Ok(ParamVec::of_tensors(tensors.collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Key, ParamVec, Params};
    use candle_core::{DType, Device, Result, Var};

    #[test]
    fn every_number_is_in_one_piece_in_its_order_and_comes_back_to_its_place() -> Result<()> {
        let var = |shape: &[usize]| Var::zeros(shape, DType::F32, &Device::Cpu);
        let vars = [("a", var(&[3, 5])?), ("b", var(&[2])?), ("c", var(&[0, 4])?), ("d", var(&[])?), ("e", var(&[7])?)];
        let params = Params::new(vars.map(|(name, var)| (name.to_owned(), var)))?;
        let vector = ParamVec::gaussian(&params, Key::new(3))?;
        let values = vector.to_vec()?;
        for most in [0, 1, 2, 4, 15, 17, 24, 25, 26, usize::MAX] {
            let mut seen = Vec::new();
            let doubled = vector.map_pieces::<f32>(most, |piece| {
                assert!(!piece.is_empty() && piece.len() <= most.max(1));
                seen.extend(piece.iter().map(|x| f64::from(*x)));
                piece.iter_mut().for_each(|x| *x *= 2.);
                Ok(())
            })?;
            assert_eq!(seen, values, "{most}");
            assert_eq!(doubled.to_vec()?, values.iter().map(|x| 2. * x).collect::<Vec<_>>(), "{most}");
            let shapes = |vector: &ParamVec| vector.tensors().iter().map(|t| t.dims().to_vec()).collect::<Vec<_>>();
            assert_eq!(shapes(&doubled), shapes(&vector));
        }
        assert!(vector.map_pieces::<f64>(4, |_| Ok(())).is_err(), "numbers of another type");
        Ok(())
    }
}
