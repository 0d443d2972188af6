//! The numbers of a vector, in pieces that fit in a cache: how vectors are sent.

use crate::ParamVec;
use candle_core::{Device, Result, Storage, Tensor, WithDType, bail};

impl ParamVec {
    /// What `f` makes of the numbers of all tensors, piece by piece: of a piece `x` it writes `f(x)`, of as many
    /// numbers, to its second argument. One piece is shorter than `most`, at most. They are parts of a tensor where
    /// that has so many, and gathered from several tensors else: which they are depends on the shapes alone. Numbers on
    /// a GPU go through the host.
    ///
    /// # Errors
    /// Those of `f`; if the numbers are of another type.
    pub fn map_pieces<T: WithDType>(
        &self,
        most: usize,
        mut f: impl FnMut(&[T], &mut [T]) -> Result<()>,
    ) -> Result<ParamVec> {
        let most = most.max(1);
        let counts: Vec<usize> = self.tensors().iter().map(Tensor::elem_count).collect();
        let mut made: Vec<Vec<T>> = counts.iter().map(|count| Vec::with_capacity(*count)).collect();
        let mut left: usize = counts.iter().map(|count| count % most).sum();
        let (mut gathered, mut out, mut filled) = (Vec::new(), Vec::new(), 0);
        for (i, tensor) in self.tensors().iter().enumerate() {
            let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else { bail!("a tensor on the CPU is stored elsewhere") };
            let numbers = &T::cpu_storage_as_slice(storage)?[layout.start_offset()..][..tensor.elem_count()];
            let pieces = numbers.chunks_exact(most);
            let mut rest = pieces.remainder();
            for piece in pieces {
                let start = made[i].len();
                made[i].resize(start + most, T::from_f64(0.)); // in the cache, where `f` writes next
                f(piece, &mut made[i][start..])?;
            }
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(most - gathered.len()));
                gathered.extend_from_slice(now);
                (rest, left) = (later, left - now.len());
                if gathered.len() < most && left > 0 {
                    continue;
                }
                out.resize(gathered.len(), T::from_f64(0.));
                f(&gathered, &mut out)?;
                let mut from = &out[..];
                while !from.is_empty() {
                    let missing = counts[filled] - made[filled].len();
                    let (own, others) = from.split_at(from.len().min(missing));
                    made[filled].extend_from_slice(own);
                    filled += usize::from(own.len() == missing);
                    from = others;
                }
                gathered.clear();
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
    fn every_number_is_in_one_piece_and_comes_back_to_its_place() -> Result<()> {
        let var = |shape: &[usize]| Var::zeros(shape, DType::F32, &Device::Cpu);
        let vars = [("a", var(&[3, 5])?), ("b", var(&[2])?), ("c", var(&[0, 4])?), ("d", var(&[])?), ("e", var(&[7])?)];
        let params = Params::new(vars.map(|(name, var)| (name.to_owned(), var)))?;
        let vector = ParamVec::gaussian(&params, Key::new(3))?;
        let values = vector.to_vec()?;
        let in_order = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        for most in [0, 1, 2, 4, 7, 14, 15, 17, 24, 25, 26, usize::MAX] {
            let (mut seen, mut lengths) = (Vec::new(), Vec::new());
            let doubled = vector.map_pieces::<f32>(most, |piece, out| {
                lengths.push(piece.len());
                seen.extend(piece.iter().map(|x| f64::from(*x)));
                out.iter_mut().zip(piece).for_each(|(out, x)| *out = 2. * x);
                Ok(())
            })?;
            assert_eq!(in_order(seen), in_order(values.clone()), "{most}");
            lengths.retain(|length| *length != most.max(1));
            assert!(lengths.len() <= 1 && lengths.iter().all(|length| *length < most), "{most}: {lengths:?}");
            assert_eq!(doubled.to_vec()?, values.iter().map(|x| 2. * x).collect::<Vec<_>>(), "{most}");
            let shapes = |vector: &ParamVec| vector.tensors().iter().map(|t| t.dims().to_vec()).collect::<Vec<_>>();
            assert_eq!(shapes(&doubled), shapes(&vector));
        }
        assert!(vector.map_pieces::<f64>(4, |_, _| Ok(())).is_err(), "numbers of another type");
        Ok(())
    }
}
