//! Passes over all parameters in one or two launches.

use super::gpu::{COUNTERS, Gpu};
use super::launch::{Bytes, Grid, Pointer, TABLE, THREADS, arguments};
use crate::parameters::{AdamWStep, Rescale, SgdStep, plain};
use candle_core::{DType, Result, Storage, Tensor, bail};

/// Elements of a block.
const CHUNK: usize = 16384;

/// A tensor of a launch: its `struct` in kernels/parameters.cu.
trait Entry {
    const SIZE: usize;
    fn len(&self) -> usize;
    /// Writes the struct, its first block being `first`.
    fn write(&self, first: u32, to: &mut Vec<u8>);
}

/// Tensors that belong together.
struct Together {
    pointers: [Pointer; 4],
    len: usize,
    number: f32,
}

impl Entry for Together {
    const SIZE: usize = 48;

    fn len(&self) -> usize {
        self.len
    }

    fn write(&self, first: u32, to: &mut Vec<u8>) {
        self.pointers.iter().for_each(|pointer| to.extend(pointer.0.to_ne_bytes()));
        to.extend((self.len as u64).to_ne_bytes());
        to.extend(first.to_ne_bytes());
        to.extend(self.number.to_ne_bytes());
    }
}

/// A tensor that is displaced by random signs.
struct Signed {
    x: Pointer,
    out: Pointer,
    len: usize,
    seed: [u8; 32],
}

impl Entry for Signed {
    const SIZE: usize = 64;

    fn len(&self) -> usize {
        self.len
    }

    fn write(&self, first: u32, to: &mut Vec<u8>) {
        to.extend(self.x.0.to_ne_bytes());
        to.extend(self.out.0.to_ne_bytes());
        to.extend((self.len as u64).to_ne_bytes());
        to.extend(first.to_ne_bytes());
        to.extend(0u32.to_ne_bytes());
        for word in self.seed.as_chunks::<4>().0 {
            to.extend(u32::from_le_bytes(*word).to_ne_bytes());
        }
    }
}

/// One launch: its table, the entries in it, its blocks, and those of the launches before.
struct Table {
    bytes: Bytes<TABLE>,
    count: usize,
    blocks: usize,
    before: usize,
}

/// As few launches as the tables allow; and their blocks.
fn tables<E: Entry>(entries: &[E]) -> (Vec<Table>, usize) {
    let (mut tables, mut before) = (Vec::new(), 0);
    for entries in entries.chunks(TABLE / E::SIZE) {
        let (mut bytes, mut blocks) = (Vec::with_capacity(TABLE), 0);
        for entry in entries {
            entry.write(blocks as u32, &mut bytes);
            blocks += entry.len().div_ceil(CHUNK);
        }
        let mut table = Bytes([0; TABLE]);
        table.0[..bytes.len()].copy_from_slice(&bytes);
        tables.push(Table { bytes: table, count: entries.len(), blocks, before });
        before += blocks;
    }
    (tables, before)
}

fn grid(table: &Table) -> Grid {
    Grid { blocks: (table.blocks as u32, 1, 1), threads: (THREADS, 1) }
}

/// f32 tensors, side by side.
fn together(lists: [&[Tensor]; 4], numbers: impl Fn(usize) -> f32) -> Result<Vec<Together>> {
    let one = |i: usize| {
        let mut pointers = [Pointer::NONE; 4];
        for (pointer, list) in pointers.iter_mut().zip(lists) {
            if let Some(tensor) = list.get(i) {
                if tensor.dtype() != DType::F32 {
                    bail!("parameters on a GPU are f32, not {:?}", tensor.dtype());
                }
                *pointer = Pointer::of(tensor)?;
            }
        }
        Ok(Together { pointers, len: lists[0][i].elem_count(), number: numbers(i) })
    };
    (0..lists[0].len()).map(one).collect()
}

/// New tensors of the shapes of these.
fn like(gpu: &Gpu, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let one = |tensor: &Tensor| Ok(gpu.empty(tensor.dtype(), tensor.elem_count())?.into_tensor(tensor.shape()));
    tensors.iter().map(one).collect()
}

/// Σ a b, f64 `[]`.
pub(crate) fn dot(gpu: &Gpu, a: &[Tensor], b: &[Tensor]) -> Result<Tensor> {
    let entries = together([a, b, &[], &[]], |_| 0.)?;
    let (tables, all) = tables(&entries);
    let (partials, sum) = (gpu.empty(DType::F64, all)?, gpu.empty(DType::F64, 1)?);
    for table in &tables {
        let arguments = arguments![
            &table.bytes,
            table.count,
            partials.pointer()?,
            sum.pointer()?,
            gpu.counters().plus(4 * (COUNTERS - 1)),
            table.before,
            all
        ];
        gpu.launch("dot_all", grid(table), arguments)?;
    }
    Ok(sum.into_tensor(()))
}

/// ‖x‖², f64 `[]`.
fn sum_of_squares(gpu: &Gpu, x: &[&Tensor]) -> Result<Tensor> {
    let x = plain(x)?;
    dot(gpu, &x, &x)
}

/// [`scale`](crate::scale)
pub(crate) fn scale(gpu: &Gpu, y: &[Tensor], length: Rescale) -> Result<(Vec<Tensor>, Tensor)> {
    let (number, given, numerator, denominator) = match length {
        Rescale::Times(c) => (c, None, None, None),
        Rescale::Given(f) => (1., Some(f.clone()), None, None),
        Rescale::Of(rho) => (rho, None, None, Some(dot(gpu, y, y)?)),
        Rescale::Relative(r, x) => (r, None, Some(sum_of_squares(gpu, x)?), Some(dot(gpu, y, y)?)),
    };
    let (scaled, f) = (like(gpu, y)?, gpu.empty(DType::F64, 1)?);
    let entries = together([y, &scaled, &[], &[]], |_| 0.)?;
    for table in &tables(&entries).0 {
        let out = if table.before == 0 { f.pointer()? } else { Pointer::NONE };
        let arguments = arguments![
            &table.bytes,
            table.count,
            number,
            Pointer::of_optional(given.as_ref())?,
            Pointer::of_optional(numerator.as_ref())?,
            Pointer::of_optional(denominator.as_ref())?,
            length.guard(),
            out
        ];
        gpu.launch("scale_all", grid(table), arguments)?;
    }
    Ok((scaled, f.into_tensor(())))
}

/// x + c y
pub(crate) fn add_scaled(gpu: &Gpu, x: &[Tensor], c: f64, y: &[Tensor]) -> Result<Vec<Tensor>> {
    let sums = like(gpu, x)?;
    let entries = together([x, y, &sums, &[]], |_| 0.)?;
    for table in &tables(&entries).0 {
        let arguments = arguments![&table.bytes, table.count, c as f32];
        gpu.launch("add_scaled_all", grid(table), arguments)?;
    }
    Ok(sums)
}

/// x + c y, to take the place of x.
pub(crate) fn displaced(gpu: &Gpu, x: &[Tensor], c: f64, y: &[Tensor]) -> Result<Vec<Storage>> {
    let fresh = x.iter().map(|x| gpu.empty(x.dtype(), x.elem_count())).collect::<Result<Vec<_>>>()?;
    let mut entries = together([x, y, &[], &[]], |_| 0.)?;
    for (entry, fresh) in entries.iter_mut().zip(&fresh) {
        entry.pointers[2] = fresh.pointer()?;
    }
    for table in &tables(&entries).0 {
        let arguments = arguments![&table.bytes, table.count, c as f32];
        gpu.launch("add_scaled_all", grid(table), arguments)?;
    }
    Ok(fresh.into_iter().map(|fresh| fresh.into_storage()).collect())
}

/// x + f z, to take the place of x, and f; `count` is ‖z‖².
pub(crate) fn displaced_by_signs(
    gpu: &Gpu,
    x: &[Tensor],
    seeds: &[[u8; 32]],
    length: Rescale,
    count: f64,
) -> Result<(Vec<Storage>, Tensor)> {
    // ‖z‖ is known beforehand, so the kernel need not divide by it.
    let norm = count.sqrt() + length.guard();
    let (number, given, numerator) = match length {
        Rescale::Times(c) => (c, None, None),
        Rescale::Given(f) => (1., Some(f.clone()), None),
        Rescale::Of(rho) => (rho / norm, None, None),
        Rescale::Relative(r, x) => (r / norm, None, Some(sum_of_squares(gpu, x)?)),
    };
    let fresh = x.iter().map(|x| gpu.empty(x.dtype(), x.elem_count())).collect::<Result<Vec<_>>>()?;
    let mut entries = Vec::with_capacity(x.len());
    for ((x, fresh), seed) in x.iter().zip(&fresh).zip(seeds) {
        if x.dtype() != DType::F32 {
            bail!("parameters on a GPU are f32, not {:?}", x.dtype());
        }
        entries.push(Signed { x: Pointer::of(x)?, out: fresh.pointer()?, len: x.elem_count(), seed: *seed });
    }
    let f = gpu.empty(DType::F64, 1)?;
    for table in &tables(&entries).0 {
        let out = if table.before == 0 { f.pointer()? } else { Pointer::NONE };
        let given = Pointer::of_optional(given.as_ref())?;
        let arguments =
            arguments![&table.bytes, table.count, number, given, Pointer::of_optional(numerator.as_ref())?, out];
        gpu.launch("displace_by_signs", grid(table), arguments)?;
    }
    Ok((fresh.into_iter().map(|fresh| fresh.into_storage()).collect(), f.into_tensor(())))
}

/// The values of tensors of any element type, to take their place.
pub(crate) fn saved(gpu: &Gpu, from: &[Tensor]) -> Result<Vec<Storage>> {
    let (mut copies, mut entries) = (Vec::with_capacity(from.len()), Vec::with_capacity(from.len()));
    for tensor in from {
        let copy = gpu.empty(tensor.dtype(), tensor.elem_count())?;
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        if !bytes.is_multiple_of(4) {
            bail!("a tensor of {bytes} bytes cannot be saved on a GPU: they must be a multiple of 4");
        }
        let pointers = [Pointer::of(tensor)?, copy.pointer()?, Pointer::NONE, Pointer::NONE];
        entries.push(Together { pointers, len: bytes / 4, number: 0. });
        copies.push(copy.into_storage());
    }
    for table in &tables(&entries).0 {
        gpu.launch("copy_all", grid(table), arguments![&table.bytes, table.count])?;
    }
    Ok(copies)
}

/// Puts the f32 numbers of `x` one after the other, from an address on.
#[cfg(feature = "nccl")]
pub(super) fn packed(gpu: &Gpu, x: &[Tensor], to: Pointer) -> Result<()> {
    copied(gpu, x, to, |x, there| [x, there])
}

/// New tensors of the shapes of `x`, of the f32 numbers that lie one after the other from an address on.
#[cfg(feature = "nccl")]
pub(super) fn unpacked(gpu: &Gpu, from: Pointer, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let made = like(gpu, x)?;
    copied(gpu, &made, from, |made, there| [there, made])?;
    Ok(made)
}

/// Copies between f32 tensors and the numbers from `at` on; `ends` are the source and the destination.
#[cfg(feature = "nccl")]
fn copied(gpu: &Gpu, x: &[Tensor], at: Pointer, ends: impl Fn(Pointer, Pointer) -> [Pointer; 2]) -> Result<()> {
    let (mut entries, mut before) = (together([x, &[], &[], &[]], |_| 0.)?, 0);
    for entry in &mut entries {
        let [from, to] = ends(entry.pointers[0], at.plus(before * size_of::<f32>()));
        entry.pointers = [from, to, Pointer::NONE, Pointer::NONE];
        before += entry.len;
    }
    for table in &tables(&entries).0 {
        gpu.launch("copy_all", grid(table), arguments![&table.bytes, table.count])?;
    }
    Ok(())
}

/// [`sgd_step`](crate::sgd_step): x changes in place, and so does the velocity, which is returned.
pub(crate) fn sgd_step(
    gpu: &Gpu,
    x: &[&Tensor],
    g: &[Tensor],
    velocity: Option<&[Tensor]>,
    step: SgdStep,
) -> Result<Vec<Tensor>> {
    let (x, first) = (&plain(x)?, velocity.is_none());
    let velocity = match velocity {
        Some(velocity) => velocity.to_vec(),
        None if step.momentum != 0. => like(gpu, x)?,
        None => Vec::new(),
    };
    let entries = together([x, g, &velocity, &[]], |i| step.weight_decay[i] as f32)?;
    for table in &tables(&entries).0 {
        let (lr, momentum) = (step.lr as f32, step.momentum as f32);
        let arguments = arguments![&table.bytes, table.count, lr, momentum, first, step.nesterov];
        gpu.launch("sgd_all", grid(table), arguments)?;
    }
    Ok(velocity)
}

/// [`adamw_step`](crate::adamw_step): x and the moments, which are returned, change in place.
pub(crate) fn adamw_step(
    gpu: &Gpu,
    x: &[&Tensor],
    g: &[Tensor],
    [m, v]: [&[Tensor]; 2],
    step: AdamWStep,
) -> Result<[Vec<Tensor>; 2]> {
    let x = &plain(x)?;
    let AdamWStep { lr, beta1, beta2, eps, t, weight_decay } = step;
    let share = |beta: f64| 1. - beta.powf(t as f64);
    let (size, root) = (lr / share(beta1), 1. / share(beta2).sqrt());
    let entries = together([x, g, m, v], |i| weight_decay[i] as f32)?;
    for table in &tables(&entries).0 {
        let [lr, beta1, beta2, eps, size, root] = [lr, beta1, beta2, eps, size, root].map(|number| number as f32);
        let arguments = arguments![&table.bytes, table.count, lr, beta1, beta2, eps, size, root];
        gpu.launch("adamw_all", grid(table), arguments)?;
    }
    Ok([m.to_vec(), v.to_vec()])
}
